"""The gateway: what customers reach. It learns from a token who calls, opens orders, and believes nothing else."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI, HTTPException, Request, Response
from mcp_sdk_fastapi import CurrentPrincipal, install
from pydantic import BaseModel

from mcp_sdk import Mesh, Principal, model_context, requires_permit
from mcp_sdk.transports.httpx import AsyncMeshTransport
from mcp_sdk_demo.shop.business import ORDER, PRICES, PROMOTION, SALE, USER, OrderStatus, customers, health

RELAYED = ("content-type", "www-authenticate", "retry-after", "x-served-by")

mesh = Mesh.from_env(service="gateway", ingress="edge", models=(ORDER, USER, PROMOTION))
app = FastAPI(title="gateway")
install(app, mesh, principal=customers())


async def _refusals(response: httpx.Response) -> None:
    await response.aread()
    response.raise_for_status()


services = httpx.AsyncClient(transport=AsyncMeshTransport(mesh), timeout=30, event_hooks={"response": [_refusals]})


class NewOrder(BaseModel):
    """What a customer orders, and the country it is sent to."""

    sku: str
    quantity: int = 1
    ship_to: str


class Payment(BaseModel):
    """How an order is paid."""

    card: str


def relay(response: httpx.Response) -> Response:
    """Hand on what a service answered, and tell which rule chose it."""
    headers = {name: response.headers[name] for name in RELAYED if name in response.headers}
    sent = response.extensions.get("mcp_sdk")
    if sent is not None and sent.decision is not None and sent.decision.reasons:
        reason = sent.decision.reasons[0]
        headers["x-routed-by"] = f"{reason.policy}/{reason.rule or 'default'}"
    return Response(response.content, response.status_code, headers)


def origin(customer: Principal) -> dict[str, str]:
    """Tell the services behind which country the call is from: they believe a verified peer."""
    return {"X-Country": customer.attributes.get("country", "")}


@app.exception_handler(httpx.HTTPStatusError)
async def refused(_: Request, error: httpx.HTTPStatusError) -> Response:
    """Hand on a refusal of a service behind."""
    return relay(error.response)


@app.post("/orders")
@model_context(model="order", state=OrderStatus.CREATED, on_error=OrderStatus.FAILED)
async def place(body: NewOrder, customer: CurrentPrincipal) -> Response:
    """Open an order. What is called from here on knows the order, and that it is new."""
    if body.sku not in PRICES:
        raise HTTPException(404, f"we do not sell {body.sku}")
    number = f"o-{uuid4().hex[:12]}"
    risk = "low" if body.ship_to == customer.attributes.get("country") else "high"
    mesh.bind("order", number, customer=customer.id, amount=PRICES[body.sku] * body.quantity, risk=risk)
    order = {"number": number, "sku": body.sku, "quantity": body.quantity}
    return relay(await services.post("http://order-service/orders", json=order, headers=origin(customer)))


@app.get("/orders/{order}")
async def show(order: str, customer: CurrentPrincipal) -> Response:
    """Show an order: the path names it, so the call below carries it."""
    return relay(await services.get(f"http://order-service/orders/{order}", headers=origin(customer)))


def outcome(response: Response) -> OrderStatus:
    """Tell what a payment makes of an order."""
    return OrderStatus.PAID if json.loads(bytes(response.body))["approved"] else OrderStatus.DECLINED


@app.post("/orders/{order}/payment")
@model_context(model="order", from_={OrderStatus.CREATED, OrderStatus.DECLINED}, state=outcome)
async def pay(order: str, body: Payment, request: Request) -> Response:
    """Pay an order."""
    token = {"Authorization": request.headers.get("authorization", "")}
    payment = {"order": order, "card": body.card}
    return relay(await services.post("http://payment/payments", json=payment, headers=token))


@app.get("/recommendations")
async def recommend(promotion: str = SALE) -> Response:
    """Recommend something; how, depends on whether the promotion is on."""
    mesh.bind("promotion", promotion)
    return relay(await services.get("http://recommendation/recommendations"))


@app.put("/promotions/{promotion}")
async def announce(promotion: str, state: str) -> dict[str, Any]:
    """Begin or end a promotion."""
    return await switch(promotion, state)


@requires_permit
async def switch(promotion: str, state: str) -> dict[str, Any]:
    """Move a promotion; policy says who may."""
    async with mesh.entity("promotion", promotion) as entity:
        moved = await entity.to(state)
    return moved.to_dict()


@app.get("/health")
async def well() -> dict[str, Any]:
    """Tell what this service decides by."""
    return health(mesh)
