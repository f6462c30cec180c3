"""Orders, in two versions of one process: version 2 serves those that wait for payment.

uvicorn app:app --port 8000
curl -X POST localhost:8000/orders/o-1 --json '{"amount": "250.00"}'
curl localhost:8000/orders/o-1
curl -X POST localhost:8000/orders/o-1/payment
curl -X POST localhost:8000/orders/o-1/payment        # 403: it is paid
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from enum import Enum
from pathlib import Path

from fastapi import FastAPI
from mcp_sdk_fastapi import install, lifespan
from pydantic import BaseModel

from mcp_sdk import Mesh, model_context
from mcp_sdk.middleware import MeshRouter
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision

mesh = Mesh.from_env(service="orders", fetch_timeout=1.0)


class Status(Enum):
    """The states of an order."""

    CREATED = "created"
    PAID = "paid"


@mesh.model(
    name="order",
    key="number",
    state="status",
    attributes=["amount"],
    transitions={Status.CREATED: {Status.PAID}},
    enforce=True,
)
class Order(BaseModel):
    """An order, as the application has it."""

    number: str
    amount: Decimal
    status: Status = Status.CREATED


class NewOrder(BaseModel):
    """What a customer sends."""

    amount: Decimal


orders: dict[str, Order] = {}
POLICIES = Path(__file__).with_name("policies.yaml")


def version(name: str) -> FastAPI:
    """Make one version of the application; they share the orders."""
    app = FastAPI()
    install(app, mesh)

    @app.post("/orders/{order}")
    @model_context(Status.CREATED)
    async def create(order: str, body: NewOrder) -> dict[str, str]:
        orders[order] = Order(number=order, amount=body.amount)
        mesh.bind(orders[order])
        return {"number": order, "served_by": name}

    @app.get("/orders/{order}")
    async def read(order: str) -> dict[str, str]:
        return {"number": order, "status": orders[order].status.value, "served_by": name}

    @app.post("/orders/{order}/payment")
    @model_context(Status.PAID)
    async def pay(order: str) -> dict[str, str]:
        orders[order].status = Status.PAID
        return {"number": order, "served_by": name}

    return app


@asynccontextmanager
async def with_policies(app: FastAPI) -> AsyncIterator[None]:
    """Put the policies beside this file in force. In production that is ``mcpctl apply``, not the service."""
    del app
    plane = mesh.control_plane
    programs = compile_policies({POLICIES.name: POLICIES.read_text()}, mesh.models)
    plane.apply(PolicyRevision(plane.snapshot().revision, programs)).result(5)
    yield


one, two = version("v1"), version("v2")
one.router.lifespan_context = lifespan(mesh, with_policies)
app = MeshRouter({"v1": one, "v2": two}, mesh)
