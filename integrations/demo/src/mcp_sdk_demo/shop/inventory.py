"""The inventory: keeps the shelves, and ships what was paid for."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any

from flask import Flask, request
from mcp_sdk_flask import MeshFlask

from mcp_sdk import Mesh, Transition, context_observer
from mcp_sdk_demo.shop.business import ORDER, health

mesh = Mesh.from_env(service="inventory", models=(ORDER,))
app = Flask(__name__)
MeshFlask(mesh).init_app(app)


@mesh.model(name="stock", key="sku", states=("available", "sold_out"), attributes=("left",))
@dataclass
class Stock:
    """What is left of an article."""

    sku: str
    left: int = 1_000_000

    @property
    def state(self) -> str:
        """Whether any is left."""
        return "available" if self.left else "sold_out"


shelves: dict[str, Stock] = {}
lock = Lock()


class SoldOut(Exception):
    """There is not enough of an article."""


@context_observer
def take(stock: Stock, quantity: int) -> None:
    """Take from a shelf; what changed is published."""
    if stock.left < quantity:
        raise SoldOut(stock.sku)
    stock.left -= quantity


@context_observer
def deliver(stock: Stock, quantity: int) -> None:
    """Fill a shelf; what changed is published."""
    stock.left = quantity


@app.post("/reservations")
def reserve() -> tuple[dict[str, Any], int]:
    """Reserve articles for an order."""
    wanted = request.get_json()
    with lock:
        stock = shelves.setdefault(wanted["sku"], Stock(wanted["sku"]))
        try:
            take(stock, wanted["quantity"])
        except SoldOut:
            return {"sku": stock.sku, "left": stock.left}, 409
    return {"sku": stock.sku, "left": stock.left}, 200


@app.put("/stock/<sku>")
def delivery(sku: str) -> dict[str, Any]:
    """Take in a delivery."""
    with lock:
        stock = shelves.setdefault(sku, Stock(sku))
        deliver(stock, request.get_json()["left"])
    return {"sku": sku, "left": stock.left}


@mesh.on_transition("order", to="paid")
def ship(paid: Transition) -> None:
    """Ship an order as soon as it is paid, whoever took the payment."""
    with mesh.entity("order", paid.entity_id) as order:
        order.to("shipped")


@app.get("/health")
def well() -> dict[str, Any]:
    """Tell what this service decides by."""
    return health(mesh)
