"""Inventory: holds stock back when an order was paid, whichever process it was paid in.

MCP_SDK_CONTROL_PLANE=sqlite:///mesh.db flask --app app run --port 8001
MCP_SDK_CONTROL_PLANE=sqlite:///mesh.db python pay.py o-1 3
curl localhost:8001/stock
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask
from mcp_sdk_flask import MeshFlask

from mcp_sdk import BusinessModel, Mesh, Transition, context_observer

mesh = Mesh.from_env(service="inventory")
mesh.model(BusinessModel("order", states=("created", "paid"), attributes={"items": "int"}))


@mesh.model(name="article", key="name", state="shelf", states=("full", "low", "empty"), attributes=["stock"])
@dataclass
class Article:
    """One kind of thing on the shelf."""

    name: str
    stock: int = 10

    @property
    def shelf(self) -> str:
        """The state of an article follows from its stock."""
        return "empty" if self.stock <= 0 else "low" if self.stock < 5 else "full"


lamp = Article("lamp")


@mesh.on_transition("order", to="paid")
def paid(event: Transition) -> None:
    """Hold back what the order needs."""
    hold(lamp, int(event.attributes.get("items", 1)))


@context_observer
def hold(article: Article, items: int) -> None:
    """Take items off the shelf; the mesh sees what that changed."""
    article.stock -= items


app = Flask(__name__)
MeshFlask(mesh).init_app(app)


@app.get("/stock")
def stock() -> dict[str, int | str]:
    """Tell what is left."""
    return {"lamp": lamp.stock, "shelf": lamp.shelf}
