"""A gateway that forwards to the version of ``orders`` that policy decides on, and the service behind it."""

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from mcp_sdk import BusinessModel, Mesh
from mcp_sdk.middleware import MeshMiddleware
from mcp_sdk.permits import requires_permit
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.transports.forward import Forward

POLICIES = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: by-state}
spec:
  target: {service: orders}
  rules:
    - {name: created, when: "order.state == 'created'", route: {version: v2}}
    - {name: nowhere, when: "order.state == 'lost'", route: {version: v9}}
  default: {version: v1}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: denied}
spec:
  target: {service: gateway, operations: ["GET /denied", "gateway.secret"]}
  default: deny
"""

MODELS = [BusinessModel("order", states=("created", "paid", "lost"))]
mesh = Mesh.from_env(models=MODELS)


async def ready(request):
    if mesh.control_plane.snapshot().revision == 0:
        programs = compile_policies({"policies.yaml": POLICIES}, mesh.models)
        mesh.control_plane.apply(PolicyRevision(0, programs)).result(10)
    return PlainTextResponse(",".join(sorted(endpoint.version for endpoint in mesh.control_plane.endpoints("orders"))))


async def socket(websocket):
    await websocket.accept()
    await websocket.close()


@requires_permit("gateway.secret")
def secret():
    return "secret"


async def guarded(request):
    return PlainTextResponse(secret())


routes = [Route("/ready", ready), Route("/guarded", guarded)]
routes += [
    WebSocketRoute("/denied", socket),
    WebSocketRoute("/open", socket),
    Mount("/orders", Forward(mesh, "orders")),
]
app = Starlette(routes=routes, lifespan=mesh.lifespan)
app.add_middleware(MeshMiddleware, mesh=mesh)

# The service behind it, which the same file is served as.

behind = Mesh.from_env(models=MODELS)


async def echo(request):
    context = behind.context("order")
    held = f"{context.entity_id}:{context.state}:{context.trust.value}" if context is not None else "none"
    body = await request.body()
    return PlainTextResponse(f"{behind.identity.version} {held} {request.method} {request.url.path} {body.decode()}")


async def upper(scope, receive, send):
    """Answer each part of the body as it arrives."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b"").upper(), "more_body": more})


service = Starlette(
    routes=[Mount("/upper", upper), Route("/{rest:path}", echo, methods=["GET", "POST"])],
    lifespan=behind.lifespan,
)
service.add_middleware(MeshMiddleware, mesh=behind)
