"""The application's configuration."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "djangoshop"
    label = "shop"
