from django.urls import path

from . import views

urlpatterns = [
    path("products", views.products),
    path("products/<int:id>", views.product),
    path("categories/<str:category>", views.products),
]
