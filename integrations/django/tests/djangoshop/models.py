"""Orders, whose states the mesh knows."""

from decimal import Decimal

from django.db import models
from mcp_sdk_django import mesh

from mcp_sdk import Attribute


class Customer(models.Model):  # noqa: DJ008 - never shown
    tier = models.CharField(max_length=20)


@mesh.model(
    name="order",
    key="number",
    state="status",
    states=("created", "paid"),
    attributes=[Attribute("amount", "decimal"), Attribute("tier", source="customer.tier")],
)
class Order(models.Model):  # noqa: DJ008 - never shown
    number = models.CharField(max_length=20, primary_key=True)
    status = models.CharField(max_length=20, default="created")
    amount = models.DecimalField(max_digits=10, decimal_places=2, default=Decimal(0))
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE)
