"""What the shop's services agree on: the models that policies speak of, prices, and how customers are recognised."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from mcp_sdk import Attribute, BusinessModel, Mesh
from mcp_sdk.middleware import JwtPrincipal

__all__ = ["ISSUER", "ORDER", "PRICES", "PROMOTION", "SALE", "SERVICES", "USER", "OrderStatus", "customers", "health"]

SERVICES = ("gateway", "order-service", "inventory", "payment", "recommendation")
SALE = "summer-sale"
ISSUER = "https://accounts.shop.example"
PRICES = {
    "book": Decimal("12.50"),
    "chair": Decimal("249.90"),
    "desk": Decimal("1000.00"),
    "sofa": Decimal("1000.01"),
    "piano": Decimal("18500.00"),
    "first-edition": Decimal("80.00"),
}


class OrderStatus(Enum):
    """The way of an order."""

    CREATED = "created"
    FAILED = "failed"
    DECLINED = "declined"
    PAID = "paid"
    SHIPPED = "shipped"


ORDER = BusinessModel(
    "order",
    key="number",
    state="status",
    states=tuple(status.value for status in OrderStatus),
    transitions={
        "created": frozenset({"failed", "declined", "paid"}),
        "declined": frozenset({"paid"}),
        "paid": frozenset({"shipped"}),
    },
    attributes={"amount": Attribute("amount", "decimal"), "risk": Attribute("risk"), "customer": Attribute("customer")},
)
USER = BusinessModel("user", principal=True, attributes={"tier": Attribute("tier")})
PROMOTION = BusinessModel("promotion", states=("planned", "active", "ended"))


def customers() -> JwtPrincipal:
    """Give how customers are recognised: by a token of the shop's accounts, whose keys are in ``SHOP_JWKS``."""
    keys = json.loads(Path(os.environ["SHOP_JWKS"]).read_text())
    return JwtPrincipal(issuer=ISSUER, audience="shop", jwks=keys, attributes=("country",))


def health(mesh: Mesh) -> dict[str, Any]:
    """Tell which policies a service decides by, and how many endpoints of each service it could call."""
    plane = mesh.control_plane
    return {"revision": plane.snapshot().revision, "reaches": {name: len(plane.endpoints(name)) for name in SERVICES}}
