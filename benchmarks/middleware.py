"""What enforcement costs a request, beside what else people put in front of an application, measured in turns in one
run.

    python benchmarks/middleware.py [--json FILE] [--rounds N]

An ASGI scope is served in process, no sockets: the bare application, a no-op pure ASGI middleware, the mesh's
middleware over the real control plane in memory with three policies, OpenTelemetry's ASGI middleware and Sentry's, each
over the same application. Each round serves every one of them ``CALLS`` times; the table holds medians over rounds, in
microseconds over bare.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sentry_sdk
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware

from mcp_sdk import BusinessModel, Mesh, ModelContext
from mcp_sdk.middleware import MeshMiddleware
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision

CALLS = 200
BUDGET_US = 40.0
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

POLICIES = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: order-traffic}
spec:
  target: {service: orders}
  rules:
    - {name: vip, when: "user.tier == 'vip'", route: {subset: {class: performance}}}
    - {name: created, when: "order.state == 'created'", route: {version: v2}}
  default: {version: v1}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: large}
spec:
  target: {service: orders, operations: ["GET /orders/{order}"]}
  default: permit
  rules:
    - {name: blocked, when: "has(order.state) && order.state == 'blocked'", effect: deny, reason: blocked}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: QosPolicy
metadata: {name: classes}
spec:
  target: {service: orders}
  rules:
    - {name: vip, when: "has(user.tier) && user.tier == 'vip'", qos: {priority: high}}
"""

HEADERS = [
    (b"host", b"orders.example"),
    (b"user-agent", b"python-httpx/0.28"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"content-type", b"application/json"),
    (b"x-request-id", b"7e4f1b"),
]


async def bare(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


class NoOp:
    """A pure ASGI middleware that does nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on."""
        await self.app(scope, receive, send)


async def receive() -> dict[str, Any]:
    """Give an empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """Take what is sent."""


def scope_of(path: str, *more: tuple[bytes, bytes]) -> dict[str, Any]:
    """Give a fresh scope, as a server makes one for each request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [*HEADERS, *more],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


def build_mesh() -> Mesh:
    """Start a mesh in memory with the three policies in force."""
    models = (
        BusinessModel("order", key="number", states=("created", "paid", "blocked"), attributes={"amount": "decimal"}),
        BusinessModel("user", attributes={"tier": "string"}, principal=True),
    )
    mesh = Mesh(service="orders", models=models, control_plane="memory:").start()
    programs = compile_policies({"bench.yaml": POLICIES}, mesh.models)
    mesh.control_plane.apply(PolicyRevision(0, programs)).result(10)
    mesh.declare_operations(["GET /orders/{order}", "GET /orders", "POST /orders"])
    return mesh


def others() -> dict[str, ASGIApp]:
    """Give the middleware of others, over the bare application."""
    sentry_sdk.init(traces_sample_rate=0.0, default_integrations=False)
    return {
        "OpenTelemetry ASGI": OpenTelemetryMiddleware(bare, tracer_provider=TracerProvider()),
        "Sentry ASGI, no tracing": SentryAsgiMiddleware(bare),
    }


async def timed(app: ASGIApp, path: str, *more: tuple[bytes, bytes]) -> float:
    """Give microseconds a request."""
    scopes = [scope_of(path, *more) for _ in range(CALLS)]
    began = time.perf_counter()
    for scope in scopes:
        await app(scope, receive, send)
    return (time.perf_counter() - began) / CALLS * 1e6


async def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Serve every one in turns, and give medians."""
    mesh = build_mesh()
    context = ModelContext("order", "o-1", "created", {"amount": 150000}, 7)
    header = mesh.codec.encode([context], now=time.time()).header.encode()
    ours = MeshMiddleware(bare, mesh)
    signed = (b"baggage", header)
    cases: dict[str, tuple[Any, ...]] = {
        "bare application": (bare, "/orders"),
        "no-op pure ASGI": (NoOp(bare), "/orders"),
        "mesh, nothing carried": (ours, "/orders"),
        "mesh, a signed order": (ours, "/orders/o-1", signed),
        "mesh, an order to fetch": (ours, "/orders/o-1"),
        **{name: (app, "/orders") for name, app in others().items()},
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, case in cases.items():
            taken[name].append(await timed(*case))
    gc.enable()
    mesh.close()
    base = statistics.median(taken["bare application"])
    return {
        name: {"us": statistics.median(times), "over_bare_us": statistics.median(times) - base}
        for name, times in taken.items()
    }


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    rows = asyncio.run(measure(args.rounds))
    print(f"{'in front of the application':<28}{'µs':>9}{'over bare':>11}")
    for name, row in rows.items():
        note = f"   budget {BUDGET_US:.0f}" if name.startswith("mesh") and "fetch" not in name else ""
        print(f"{name:<28}{row['us']:>9.1f}{row['over_bare_us']:>11.1f}{note}")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "budget_us": BUDGET_US}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
