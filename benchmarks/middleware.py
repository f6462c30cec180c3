"""What enforcement costs a request, beside what else people put in front of an application, measured in turns in one
run.

    python benchmarks/middleware.py [--json FILE] [--rounds N]

An ASGI scope is served in process, no sockets: the bare application, a no-op pure ASGI middleware, the mesh's
middleware over the real control plane in memory with a TrafficPolicy and an AccessPolicy, OpenTelemetry's ASGI
middleware and Sentry's, each over the same application. Signed orders come twice: the same header again, which a codec
verifies once in five seconds, and headers of which no two are alike. Each round serves every one of them ``CALLS``
times; the table holds medians over rounds, in microseconds over bare: by the clock, and by the thread's processor time,
which other work on the machine hardly touches (a fetch waits for another thread, whose time is not in it).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
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

CALLS = 50
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
    """Start a mesh in memory with the policies in force."""
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


async def timed(app: ASGIApp, scopes: list[dict[str, Any]]) -> tuple[float, float]:
    """Give microseconds a request, by the clock and by the thread's processor time."""
    began, worked = time.perf_counter(), time.thread_time()
    for scope in scopes:
        await app(scope, receive, send)
    worked, began = time.thread_time() - worked, time.perf_counter() - began
    return began / len(scopes) * 1e6, worked / len(scopes) * 1e6


def carried(mesh: Mesh, numbers: Iterator[int]) -> Callable[[], tuple[bytes, bytes]]:
    """Give what makes a header that carries another signed order each time."""

    def header() -> tuple[bytes, bytes]:
        context = ModelContext("order", f"o-{next(numbers)}", "created", {"amount": 150000}, 7)
        return b"baggage", mesh.codec.encode([context], now=time.time()).header.encode()

    return header


async def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Serve every one in turns, and give medians."""
    mesh = build_mesh()
    header, numbers = carried(mesh, itertools.count(2)), itertools.count(2)
    ours, same = MeshMiddleware(bare, mesh), carried(mesh, itertools.repeat(1))()
    cases: dict[str, tuple[ASGIApp, Callable[[], dict[str, Any]]]] = {
        "bare application": (bare, lambda: scope_of("/orders")),
        "no-op pure ASGI": (NoOp(bare), lambda: scope_of("/orders")),
        "mesh, nothing carried": (ours, lambda: scope_of("/orders")),
        "mesh, the same signed order": (ours, lambda: scope_of("/orders/o-1", same)),
        "mesh, ever other signed orders": (ours, lambda: scope_of(f"/orders/o-{next(numbers)}", header())),
        "mesh, an order to fetch": (ours, lambda: scope_of("/orders/o-1")),
        **{name: (app, lambda: scope_of("/orders")) for name, app in others().items()},
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, (app, scope) in cases.items():
            taken[name].append(await timed(app, [scope() for _ in range(CALLS)]))
    gc.enable()
    mesh.close()
    medians = {name: tuple(map(statistics.median, zip(*times, strict=True))) for name, times in taken.items()}
    clock, worked = medians["bare application"]
    return {
        name: {"us": us, "over_bare_us": us - clock, "cpu_over_bare_us": cpu - worked}
        for name, (us, cpu) in medians.items()
    }


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    rows = asyncio.run(measure(args.rounds))
    print(f"{'in front of the application':<32}{'µs':>9}{'over bare':>11}{'processor':>11}")
    for name, row in rows.items():
        note = f"   budget {BUDGET_US:.0f}" if name.startswith("mesh") and "fetch" not in name else ""
        print(f"{name:<32}{row['us']:>9.1f}{row['over_bare_us']:>11.1f}{row['cpu_over_bare_us']:>11.1f}{note}")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "budget_us": BUDGET_US}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
