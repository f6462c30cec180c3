"""The service behind the W3C trace-context harness: it gets ``[{"url", "arguments"}, ...]`` and posts each onwards.

``python w3c_service.py PORT plain`` is an ASGI application with nothing but OpenTelemetry's SDK; ``mesh`` puts our
middleware in front of it and our transport under its client. Both start a server span from what came in, and a client
span for each call.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx
import uvicorn
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from mcp_sdk import Mesh
from mcp_sdk.middleware.asgi import MeshMiddleware, Receive, Scope, Send
from mcp_sdk.transports.httpx import AsyncMeshTransport

Headers = list[tuple[bytes, bytes]]


class HeaderGetter(Getter[Headers]):
    """Reads an ASGI scope's headers for OpenTelemetry, every line of a name."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        """Give the lines of one header, or None."""
        return [value.decode("latin-1") for name, value in carrier if name == key.encode()] or None

    def keys(self, carrier: Headers) -> list[str]:
        """Give the headers' names."""
        return [name.decode("latin-1") for name, _ in carrier]


class Service:
    """The application: posts onwards through ``client``, which ``injects`` trace headers by itself or not."""

    def __init__(self, client: httpx.AsyncClient, *, injects: bool) -> None:
        self.client, self.injects = client, injects
        self.tracer = trace.get_tracer("w3c_service")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, inside a span that continues what came in."""
        if scope["type"] != "http":
            return
        context = propagate.extract(scope["headers"], getter=HeaderGetter())
        with self.tracer.start_as_current_span("serve", context, SpanKind.SERVER):
            for action in json.loads(await _body(receive)) or []:
                await self.post(action["url"], action.get("arguments") or [])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b"null"})

    async def post(self, url: str, arguments: list[Any]) -> None:
        """Make one call inside its own span."""
        with self.tracer.start_as_current_span("call", kind=SpanKind.CLIENT):
            headers: dict[str, str] = {}
            if not self.injects:
                propagate.inject(headers)
            await self.client.post(url, json=arguments, headers=headers)


async def _body(receive: Receive) -> bytearray:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def plain() -> Any:
    """Give the application without the mesh."""
    return Service(httpx.AsyncClient(trust_env=False), injects=False)


def mesh() -> Any:
    """Give the application with the mesh's middleware and transport; the harness is a host that gets our baggage."""
    built = Mesh(service="w3c-service", egress_hosts=("127.0.0.1",)).start()
    client = httpx.AsyncClient(transport=AsyncMeshTransport(built))
    return MeshMiddleware(Service(client, injects=True), built)


def main(port: int, kind: str) -> None:
    """Serve on a loopback port until told to stop."""
    trace.set_tracer_provider(TracerProvider())
    app = {"plain": plain, "mesh": mesh}[kind]()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
