"""A service whose policies permit only paid orders, only administrators, only vip users, only one country."""

import os

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mcp_sdk import BusinessModel, Mesh
from mcp_sdk.middleware import MeshMiddleware
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision

POLICIES = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: paid-only}
spec:
  target: {service: orders, operations: ["GET /paid"]}
  default: deny
  rules:
    - {name: paid, when: "order.state == 'paid'", effect: permit}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: admin-only}
spec:
  target: {service: orders, operations: ["GET /admin"]}
  default: deny
  rules:
    - {name: admin, when: "principal.id == 'admin'", effect: permit}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: vip-only}
spec:
  target: {service: orders, operations: ["GET /vip"]}
  default: deny
  rules:
    - {name: vip, when: "user.tier == 'vip'", effect: permit}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: home-only}
spec:
  target: {service: orders, operations: ["GET /home"]}
  default: deny
  rules:
    - {name: home, when: "request.geo.country == 'CH'", effect: permit}
"""

MODELS = [
    BusinessModel("order", states=("created", "paid")),
    BusinessModel("user", attributes={"tier": "string"}, principal=True),
]
mesh = Mesh.from_env(models=MODELS)


class ByPassword(AuthenticationBackend):
    """Authenticates whoever writes ``Authorization: Test <name>``."""

    async def authenticate(self, conn):
        scheme, _, name = conn.headers.get("authorization", "").partition(" ")
        return (AuthCredentials(), Named(name)) if scheme == "Test" else None


class Named(SimpleUser):
    """A user with an identity."""

    @property
    def identity(self):
        return self.username


def lifespan(app):
    """Run the mesh with the policies in force."""
    return mesh.lifespan(app)


async def ok(request):
    return PlainTextResponse("ok")


async def ready(request):
    programs = compile_policies({"policies.yaml": POLICIES}, mesh.models)
    if mesh.control_plane.snapshot().revision == 0:
        mesh.control_plane.apply(PolicyRevision(0, programs)).result(10)
    return PlainTextResponse(str(os.getpid()))


paths = ("/paid", "/admin", "/vip", "/home")
app = Starlette(routes=[Route("/ready", ready), *(Route(path, ok) for path in paths)], lifespan=lifespan)
app.add_middleware(MeshMiddleware, mesh=mesh)
app.add_middleware(AuthenticationMiddleware, backend=ByPassword())
