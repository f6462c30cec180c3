"""FastAPI under uvicorn, as a user writes it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from mcp_sdk_fastapi import CurrentDecision, CurrentPrincipal, context, install, lifespan, requires
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mcp_sdk import Mesh, ModelContext, Principal, model_context
from mcp_sdk.middleware import identify
from mcp_sdk.permits import requires_permit

OrderContext = Annotated[ModelContext | None, context("order")]

PAID_ONLY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: paid-only}
spec:
  target: {service: orders, operations: ["%s"]}
  default: permit
  rules:
  - {name: unpaid, when: "!has(order.state) || order.state != 'paid'", effect: deny, reason: pay first}
"""

STAFF_ONLY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: staff-only}
spec:
  target: {service: orders, operations: ["orders.refund"]}
  default: deny
  rules:
  - {name: staff, when: "'staff' in principal.roles", effect: permit}
"""


@pytest.fixture
def app(mesh: Mesh) -> FastAPI:
    app = FastAPI()
    install(app, mesh)
    return app


def test_a_path_parameter_names_an_entity(app, mesh, serve):
    """The context of the order in the path is looked up, though no policy asked for it."""

    @app.get("/orders/{order}")
    async def read(order: str, held: OrderContext):
        return {"order": order, "state": held and held.state}

    with serve(app) as client:
        assert client.get("/orders/o-1").json() == {"order": "o-1", "state": None}
        mesh.publish("order", "o-1", state="paid")
        assert client.get("/orders/o-1").json() == {"order": "o-1", "state": "paid"}


def test_a_request_is_refused_by_the_state_of_its_entity(app, mesh, serve, apply):
    """A policy on a path template sees the entity that the path names; the refusal is problem details."""

    @app.post("/orders/{order_id}/ship")
    def ship(order_id: str, decision: CurrentDecision):
        return decision.verdict.name

    with serve(app) as client:
        apply(PAID_ONLY % "POST /orders/{order_id}/ship")
        mesh.publish("order", "o-1", state="created")
        refused = client.post("/orders/o-1/ship")
        assert (refused.status_code, refused.json()["detail"]) == (403, "pay first")
        assert refused.headers["content-type"] == "application/problem+json"
        mesh.publish("order", "o-1", state="paid")
        assert client.post("/orders/o-1/ship").json() == "permit"


def test_an_endpoint_is_captured(app, serve, stored):
    """The capture below the route's decorator publishes what the request did."""

    @app.post("/orders/{order}")
    @model_context(model="order", state="created")
    async def create(order: str, held: OrderContext, request: Request):
        return {"inside": request.app is app}

    with serve(app) as client:
        assert client.post("/orders/o-7").json() == {"inside": True}
        assert stored("o-7").state == "created"


def test_an_operation_is_required(app, serve, apply):
    """``requires`` asks where it stands, so a dependency above it may say who calls."""

    async def signed_in(request: Request):
        identify(Principal(id="ann", authenticated=True, roles=tuple(request.headers.get("x-role", "").split())))

    @app.post("/refunds", dependencies=[Depends(signed_in), requires("orders.refund")])
    async def refund(who: CurrentPrincipal):
        return who.id

    with serve(app) as client:
        apply(STAFF_ONLY)
        assert client.post("/refunds").status_code == 403
        assert client.post("/refunds", headers={"x-role": "staff"}).json() == "ann"


def test_a_refused_method_answers_in_a_mounted_application_too(app, serve, apply):
    """``Refused`` from below an endpoint is the middleware's answer, not a server error."""

    @requires_permit("orders.refund")
    def refund():
        return "never"

    inner = FastAPI()
    app.get("/refund")(refund)
    inner.get("/refund")(refund)
    app.mount("/inner", inner)

    with serve(app) as client:
        apply(STAFF_ONLY)
        assert [client.get(path).status_code for path in ("/refund", "/inner/refund")] == [403, 403]


def test_routers_and_mounts_declare_their_whole_paths(app, mesh, serve):
    """Prefixes of routers in routers and of mounted applications are part of the operations."""
    router, deeper, inner = APIRouter(prefix="/v1"), APIRouter(prefix="/shops/{shop}"), FastAPI(openapi_url=None)
    inner.get("/lines/{line:path}")(lambda line: line)
    deeper.put("/orders/{order:int}")(lambda shop, order: order)
    deeper.get("/{a}-{b}")(lambda shop, a, b: a)
    router.include_router(deeper)
    app.include_router(router, prefix="/api")
    app.mount("/inside/{order}", inner)

    with serve(app):
        operations = {pattern.text for pattern in mesh.operations}
    assert "PUT /api/v1/shops/{shop}/orders/{order}" in operations
    assert not any("{a}" in operation for operation in operations)
    assert "GET /inside/{order}/lines/**" in operations


def test_starting_twice_declares_once(app, mesh, serve):
    """An application that is started again declares nothing new."""
    app.get("/orders/{order}")(lambda order: order)
    with serve(app):
        count = len(mesh.operations)
    with serve(app):
        assert len(mesh.operations) == count


def test_the_mesh_is_around_the_application_s_own_lifespan(mesh, serve):
    """The application's lifespan runs inside the mesh's, and what it yields is its state."""
    seen = []

    @asynccontextmanager
    async def own(app):
        seen.append(mesh.started)
        yield {"answer": 42}
        seen.append(mesh.started)

    app = FastAPI(lifespan=own)
    install(app, mesh)

    @app.get("/")
    async def answer(request: Request):
        return request.state.answer

    with serve(app) as client:
        assert client.get("/").json() == 42
    assert seen == [True, True]
    assert not mesh.started


def test_the_lifespan_stands_alone(mesh, serve):
    """``FastAPI(lifespan=lifespan(mesh))`` starts and checks without the middleware."""
    app = FastAPI(lifespan=lifespan(mesh))
    app.get("/orders/{order}")(lambda order: mesh.started)
    with serve(app) as client:
        assert client.get("/orders/o-1").json() is True
    assert "GET /orders/{order}" in {pattern.text for pattern in mesh.operations}


def test_a_websocket_is_refused_before_it_is_accepted(app, mesh, serve, apply):
    """A policy refuses the handshake, and so does a requirement of the route."""

    @app.websocket("/orders/{order}/events")
    async def events(socket: WebSocket, order: str, held: OrderContext, decision: CurrentDecision):
        await socket.accept()
        await socket.send_text(f"{held.state} {decision.verdict.name}")
        await socket.close()

    @app.websocket("/refunds", dependencies=[requires("orders.refund")])
    async def refunds(socket: WebSocket):
        await socket.accept()

    with serve(app) as client:
        apply(PAID_ONLY % "GET /orders/{order}/events" + "---" + STAFF_ONLY)
        address = f"ws://127.0.0.1:{client.base_url.port}"
        for path in ("/orders/o-1/events", "/refunds"):
            with pytest.raises(InvalidStatus) as refused, connect(address + path):
                pass
            assert refused.value.response.status_code == 403
        mesh.publish("order", "o-1", state="paid")
        with connect(address + "/orders/o-1/events") as socket:
            assert socket.recv() == "paid permit"


def test_streams_and_background_tasks_keep_the_record(app, mesh, serve):
    """What comes after the handler returned still belongs to the request."""
    after = []

    @app.get("/orders/{order}/lines")
    async def lines(order: str, held: OrderContext, tasks: BackgroundTasks):
        async def stream():
            for _ in range(2):
                yield mesh.context("order").state + "\n"

        tasks.add_task(lambda: after.append(mesh.context("order").state))
        return StreamingResponse(stream(), background=tasks)

    with serve(app) as client:
        mesh.publish("order", "o-1", state="paid")
        assert client.get("/orders/o-1/lines").text == "paid\npaid\n"
    assert after == ["paid"]


def test_a_dependency_outside_any_request_gives_nothing(serve):
    """Without the middleware there is no record, no decision and nobody."""
    app = FastAPI()

    @app.get("/")
    async def read(held: OrderContext, decision: CurrentDecision, who: CurrentPrincipal):
        return [held, decision, who.authenticated]

    with serve(app) as client:
        assert client.get("/").json() == [None, None, False]
