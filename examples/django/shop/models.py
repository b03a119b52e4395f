from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    category = models.CharField(max_length=50)

    def as_dict(self):
        return {"id": self.id, "name": self.name, "price": str(self.price), "category": self.category}
