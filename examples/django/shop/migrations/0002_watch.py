"""Which copies a change of a product makes old. The names are those of views.py."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "SELECT outbox.watch('shop_product', 'products:all', 'product:{id}', 'products:in:{category}')",
            reverse_sql="SELECT outbox.unwatch('shop_product')",
        )
    ]
