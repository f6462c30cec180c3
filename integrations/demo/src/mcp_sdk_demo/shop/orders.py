"""The order service. It runs in two versions, and once more on faster machines."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, Response
from mcp_sdk_fastapi import install
from pydantic import BaseModel

from mcp_sdk import Mesh
from mcp_sdk.transports.httpx import AsyncMeshTransport
from mcp_sdk_demo.shop.business import ORDER, USER, health

mesh = Mesh.from_env(service="order-service", geo_header="x-country", models=(ORDER, USER))
services = httpx.AsyncClient(transport=AsyncMeshTransport(mesh), timeout=30)


def sign(response: Response) -> None:
    """Tell which instance answered."""
    response.headers["x-served-by"] = mesh.identity.instance


app = FastAPI(title="orders", dependencies=[Depends(sign)])
install(app, mesh)


class NewOrder(BaseModel):
    """An order as the gateway opened it."""

    number: str
    sku: str
    quantity: int


@app.post("/orders", status_code=201)
async def take(order: NewOrder) -> dict[str, Any]:
    """Take an order on, if there is enough of what it asks for."""
    reserved = await services.post("http://inventory/reservations", json={"sku": order.sku, "quantity": order.quantity})
    if reserved.status_code == 409:
        raise HTTPException(409, f"{order.sku} is sold out")
    reserved.raise_for_status()
    return receipt(order.number)


@app.get("/orders/{order}")
async def show(order: str) -> dict[str, Any]:
    """Show an order: what the mesh knows of it came with the call."""
    return receipt(order)


def receipt(number: str) -> dict[str, Any]:
    """Give an order as customers see it; the second version also promises a day."""
    order = mesh.context("order")
    if order is None:
        raise HTTPException(404, f"there is no order {number}")
    amount = Decimal(str(order.attributes["amount"])).scaleb(-2)
    plain = {"number": number, "state": order.state, "amount": f"{amount:.2f}"}
    return plain if mesh.config.version == "v1" else plain | {"delivery": "tomorrow"}


@app.get("/health")
async def well() -> dict[str, Any]:
    """Tell what this service decides by."""
    return health(mesh)
