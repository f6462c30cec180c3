"""``Forward``: an ASGI application that passes requests on to a service of the mesh, streaming both ways.

It forwards to the one service that it was made for, never to where a request says: no open proxy. Sources: RFC 9110
section 7.6 (what an intermediary must not pass on), RFC 7239's predecessors ``X-Forwarded-*`` as everybody reads them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from mcp_sdk.exceptions import MissingExtra
from mcp_sdk.facts import one_path
from mcp_sdk.mesh import Mesh
from mcp_sdk.problems import Response, problem, respond
from mcp_sdk.transports.httpx import AsyncMeshTransport, CallRefused, ServiceUnreachable

try:
    import httpx
except ModuleNotFoundError as missing:
    raise MissingExtra("httpx", extra="httpx", purpose="mcp_sdk.transports.forward") from missing

__all__ = ["Forward"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers of one connection, which end at it (RFC 9110 section 7.6.1)."""

_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"})


class _Gone(Exception):
    """The caller went away while its request was being read."""


class Forward:
    """Passes every request on to ``service``; ``MeshMiddleware`` in front of it decides, and holds the contexts.

    ``transport`` is an ``AsyncMeshTransport`` unless given; ``timeout`` is in seconds for each of connecting, sending
    and waiting. What the caller said in ``config.principal_header`` and ``config.geo_header`` ends here, for the
    service behind believes its peers. Answers 502, 503 and 504 (problem details) when the service cannot be reached.
    Websockets are refused.
    """

    def __init__(
        self, mesh: Mesh, service: str, *, transport: httpx.AsyncBaseTransport | None = None, timeout: float = 30.0
    ) -> None:
        self._mesh = mesh
        self._service = service
        self._transport = transport if transport is not None else AsyncMeshTransport(mesh)
        self._timeout = httpx.Timeout(timeout).as_dict()
        told = {mesh.config.principal_header, mesh.config.geo_header}
        self._ours = frozenset(name.lower().encode("ascii") for name in told if name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "websockets are not forwarded"})
        else:
            await self._forward(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._transport.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _plain(scope["path"]):
            detail = "A path begins with / and has no . or .. segments"
            await _send_problem(problem(400, "path", "The path cannot be forwarded", detail), scope, send)
            return
        try:
            response = await self._transport.handle_async_request(self._request(scope, receive))
        except _Gone:
            return
        except httpx.TransportError as error:
            await _send_problem(_problem_of(error), scope, send)
            return
        try:
            await self._pass_back(response, send)
        finally:
            await response.aclose()

    def _request(self, scope: Scope, receive: Receive) -> httpx.Request:
        headers = self._headers(scope)
        query = scope.get("query_string", b"")
        target = _raw_path(scope) + (b"?" + query if query else b"")
        url = httpx.URL(scheme="http", host=self._service, raw_path=target)
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        extensions = {"timeout": self._timeout}
        content = _body(receive) if has_body else None
        return httpx.Request(scope["method"], url, headers=headers, content=content, extensions=extensions)

    def _headers(self, scope: Scope) -> Headers:
        dropped = HOP_BY_HOP | _FORWARDED | self._ours | {b"host"} | _named_by_connection(scope["headers"])
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in dropped]
        before = [value for name, value in scope["headers"] if name.lower() == b"x-forwarded-for"]
        client = scope.get("client")
        peer = [client[0].encode("ascii", "replace")] if client else []
        trusted = before if self._mesh.config.trusted_proxies else []
        if trusted or peer:
            kept.append((b"x-forwarded-for", b", ".join([*trusted, *peer])))
        host = next((value for name, value in scope["headers"] if name.lower() == b"host"), b"")
        kept.append((b"x-forwarded-proto", scope.get("scheme", "http").encode("ascii")))
        return [*kept, (b"x-forwarded-host", host)] if host else kept

    async def _pass_back(self, response: httpx.Response, send: Send) -> None:
        dropped = HOP_BY_HOP | _named_by_connection(response.headers.raw)
        headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in dropped]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        async for part in stream:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _named_by_connection(headers: Any) -> set[bytes]:
    values = (value for name, value in headers if name.lower() == b"connection")
    return {token.strip().lower() for value in values for token in value.split(b",")}


def _plain(path: str) -> bool:
    """Tell whether everybody on the way reads a path alike: what is decided on here must be what is served behind."""
    return path.startswith("/") and not {".", ".."} & set(path.split("/"))


def _raw_path(scope: Scope) -> bytes:
    """Give the path that the policy decided on, percent-encoded; never a second reading of what the caller wrote."""
    root, path = scope.get("root_path", ""), scope["path"]
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        path = path[len(root) :]
    return quote(one_path(path), safe="/!$&'()*+,;=:@", errors="replace").encode("ascii")


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


def _problem_of(error: httpx.TransportError) -> Response:
    if isinstance(error, CallRefused):
        return respond(error.decision)
    if isinstance(error, ServiceUnreachable):
        return problem(503, "no-endpoint", "No endpoint serves this", headers=(("retry-after", "1"),))
    if isinstance(error, httpx.TimeoutException):
        return problem(504, "timeout", "The service behind did not answer in time")
    return problem(502, "unreachable", "The service behind cannot be reached")


async def _send_problem(response: Response, scope: Scope, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})
