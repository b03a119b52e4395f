import json

from django.http import HttpResponseNotAllowed, JsonResponse

from . import cache
from .models import Product


def answer(value, source):
    response = JsonResponse(value, safe=False, status=200 if value is not None else 404)
    response["X-Cache"] = source
    return response


def product(request, id):
    if request.method == "GET":
        def load():
            found = Product.objects.filter(id=id).first()
            return found and found.as_dict()

        return answer(*cache.read(f"product:{id}", load))
    if request.method == "POST":
        # The write and nothing else.
        changed = Product.objects.filter(id=id).update(**json.loads(request.body))
        return JsonResponse({"changed": changed})
    return HttpResponseNotAllowed(["GET", "POST"])


def products(request, category=None):
    def load():
        found = Product.objects.order_by("id")
        if category is not None:
            found = found.filter(category=category)
        return [each.as_dict() for each in found[:100]]

    return answer(*cache.read("products:all" if category is None else f"products:in:{category}", load))
