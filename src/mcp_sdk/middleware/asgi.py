"""``MeshMiddleware``: enforcement in front of an ASGI application, websockets included."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mcp_sdk import current
from mcp_sdk.decisions import Refused
from mcp_sdk.mesh import Mesh
from mcp_sdk.middleware._flow import Enforcer, Outcome
from mcp_sdk.middleware.arrivals import read_scope
from mcp_sdk.middleware.geo import GeoReader
from mcp_sdk.middleware.principal import Reader
from mcp_sdk.middleware.routes import Routes
from mcp_sdk.problems import Response, respond

__all__ = ["ASGIApp", "MeshMiddleware", "Message", "Receive", "Scope", "Send", "refuse"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

DECISION = "mcp_sdk.decision"
OWNER = "mcp_sdk.mesh"


class MeshMiddleware:
    """Decides on every request and websocket of an application before it sees them.

    ``app.add_middleware(MeshMiddleware, mesh=mesh)``; see ``Enforcer`` for ``principal``, ``geo``
    and ``routes``. The decision is
    ``request.state.mesh_decision``, or ``mcp_sdk.middleware.decision(request)``. A ``Refused`` that comes out of the
    application becomes its response. The mesh is started with the application's lifespan where the application did not
    do it itself, and closed with it; without a lifespan it starts with the first request. A second one for the same
    mesh, around a mounted application, lets pass what the first decided on.
    """

    def __init__(
        self,
        app: ASGIApp,
        mesh: Mesh,
        *,
        principal: Reader | None = None,
        geo: GeoReader | None = None,
        routes: Routes | None = None,
    ) -> None:
        self.app = app
        self.mesh = mesh
        self.enforcer: Enforcer = Enforcer(mesh, principal=principal, geo=geo, routes=routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        kind = scope["type"]
        if kind == "lifespan":
            await _Lifespan(self.mesh, receive, send).run(self.app, scope)
        elif kind not in ("http", "websocket") or not self.mesh.watching or scope.get(OWNER) is self.mesh:
            await self.app(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = await self.enforcer.aenter(read_scope(scope))
        sender = _Sender(send, outcome)
        try:
            if outcome.response is not None:
                await refuse(outcome.response, scope, receive, send)
                return
            scope[OWNER], scope[DECISION] = self.mesh, outcome.decision
            scope.setdefault("state", {})["mesh_decision"] = outcome.decision
            receiver = _Receiver(receive) if scope["type"] == "websocket" else receive
            outer = current.activate(outcome.record)
            try:
                await self.app(scope, receiver, sender)
            except Refused as refusal:
                if sender.started:
                    raise
                await refuse(respond(refusal.decision), scope, receiver, send)
            except Exception:
                sender.failed = True
                raise
            finally:
                current.activate(outer)
        finally:
            self.enforcer.finish(outcome, failed=sender.failed)


class _Sender:
    """Passes messages on, sees whether the response has begun and how, and adds the headers of rate limits to it."""

    __slots__ = ("_headers", "_send", "failed", "started")

    def __init__(self, send: Send, outcome: Outcome) -> None:
        self._send = send
        self._headers = outcome.headers
        self.started = self.failed = False

    def __call__(self, message: Message) -> Awaitable[None]:
        if not self.started:
            self.started = True
            self.failed = message.get("status", 0) >= 500
            if self._headers and message["type"] == "http.response.start":
                ours = [(name.encode("ascii"), value.encode("ascii")) for name, value in self._headers]
                message = {**message, "headers": [*message.get("headers", ()), *ours]}
        return self._send(message)


class _Receiver:
    """Passes a websocket's messages on, and remembers that it was opened, for who refuses it late."""

    __slots__ = ("_receive", "opening")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.opening: Message | None = None

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.connect":
            self.opening = message
        return message


async def refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a refusal. A websocket is refused before it is accepted: by a response where the server can, else 1008."""
    if scope["type"] == "http":
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.start", "status": response.status, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": body})
        return
    if getattr(receive, "opening", None) is None:
        await receive()
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send(
            {"type": "websocket.http.response.start", "status": response.status, "headers": response.raw_headers}
        )
        await send({"type": "websocket.http.response.body", "body": response.body})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": "refused by policy"})


class _Lifespan:
    """An application's lifespan with the mesh inside it, unless the application started the mesh itself."""

    def __init__(self, mesh: Mesh, receive: Receive, send: Send) -> None:
        self._mesh = mesh
        self._receive = receive
        self._send = send
        self._mine = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Serve the lifespan scope; the application's own failure to know lifespans stays its own."""
        await app(scope, self._receive, self._passed)

    async def _passed(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            message = await self._startup(message)
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed") and self._mine:
            await self._mesh.aclose()
        await self._send(message)

    async def _startup(self, message: Message) -> Message:
        if not self._mesh.watching or self._mesh.started:
            return message
        try:
            await self._mesh.astart()
        except Exception as error:  # noqa: BLE001 - the server reports it and stops, as for the application's own
            return {"type": "lifespan.startup.failed", "message": str(error)}
        self._mine = True
        return message
