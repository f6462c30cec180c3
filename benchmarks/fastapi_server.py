"""Requests per second that a FastAPI service under uvicorn loses to the mesh.

    python benchmarks/fastapi_server.py [--rounds N] [--seconds S] [--json FILE]

Two servers of one worker, the same handler (1 ms of work in Python), one bare, one with ``MeshMiddleware``, a
TrafficPolicy and an AccessPolicy in force, and a signed order in every request, another one each time. They take turns
under eight connections; the figure is the median of the ratios, turn by turn. The source document allows 5 %; the
budget is 4 %. Where Linux tells how long each server ran, the same loss is shown in processor time a request, which
other work on the machine touches less.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mcp_sdk import BusinessModel, Mesh, ModelContext, Trust
from mcp_sdk.baggage import Codec
from mcp_sdk.ports import Identity
from mcp_sdk.signing import Keyring

KEYS = "bench:" + base64.urlsafe_b64encode(b"a key for the benchmark, 32 bytes").decode()
CONNECTIONS, BUDGET = 8, 4.0
POLICIES = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  target: {service: orders}
  rules:
  - {name: created, when: "order.state == 'created'", route: {version: v2}}
  default: {version: v1}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: regions}
spec:
  target: {service: orders}
  default: permit
  rules:
  - {name: region, when: "request.geo.country in ['XX', 'YY']", effect: deny, reason: region not served}
"""
DOCUMENT = json.dumps({"lines": [{"sku": f"s-{number}", "count": number, "price": 9.5} for number in range(12)]})
MODEL = BusinessModel("order", states=("created", "paid"), attributes={"amount": "decimal"})


def busy(loops: int) -> int:
    """Work as handlers do, in Python: some parsing, and some counting."""
    return sum(len(json.loads(DOCUMENT)["lines"]) for _ in range(loops))


def calibrated() -> int:
    """Give how many loops take this machine a millisecond of processor time."""
    taken = []
    for _ in range(20):
        began = time.thread_time()
        busy(20)
        taken.append(time.thread_time() - began)
    return round(0.001 / (min(taken) / 20))


def application(variant: str, loops: int) -> object:
    """Build the service: a handler that works for a millisecond, bare or behind the mesh."""
    from fastapi import FastAPI  # noqa: PLC0415 - only the servers need it

    mesh = Mesh(service="orders", signing_keys=KEYS, models=[MODEL])
    app = FastAPI(lifespan=mesh.lifespan if variant == "mesh" else None)

    @app.get("/work")
    async def work() -> dict[str, str]:
        return {"done": str(busy(loops))}

    if variant == "mesh":
        from mcp_sdk.middleware import MeshMiddleware  # noqa: PLC0415
        from mcp_sdk.policy import compile_policies  # noqa: PLC0415
        from mcp_sdk.snapshot import PolicyRevision  # noqa: PLC0415

        app.add_middleware(MeshMiddleware, mesh=mesh)
        programs = compile_policies({"bench.yaml": POLICIES}, mesh.models)
        mesh.start().control_plane.apply(PolicyRevision(0, programs)).result(5)
    return app


def serve(variant: str, port: int, loops: int) -> None:
    """Run one server; the body of a child process."""
    import uvicorn  # noqa: PLC0415

    uvicorn.run(application(variant, loops), host="127.0.0.1", port=port, log_level="error", access_log=False)


def requests_to_send(count: int) -> Iterator[bytes]:
    """Give requests, round and round, each with an order of its own, signed a moment ago."""
    codec = Codec(Keyring.parse(KEYS), Identity("gateway"), {"order": MODEL})
    sent = []
    for number in range(count):
        order = ModelContext("order", f"o-{number}", "created", {"amount": 150_000}, 7, trust=Trust.STORE)
        header = codec.encode([order], now=time.time()).header
        sent.append(f"GET /work HTTP/1.1\r\nHost: orders\r\nbaggage: {header}\r\n\r\n".encode())
    return itertools.cycle(sent)


async def client(port: int, until: float, requests: Iterator[bytes]) -> int:
    """Send requests on one connection until a moment; gives how many were answered with 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while time.perf_counter() < until:
        writer.write(next(requests))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not answered: {head[:80]!r}")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        answered += 1
    writer.close()
    await writer.wait_closed()
    return answered


async def rate(port: int, seconds: float) -> tuple[int, float]:
    """Give the requests that were answered under eight connections, and how many that is per second."""
    requests = requests_to_send(int(seconds * 1000) + 1)
    began = time.perf_counter()
    counts = await asyncio.gather(*(client(port, began + seconds, requests) for _ in range(CONNECTIONS)))
    return sum(counts), sum(counts) / (time.perf_counter() - began)


def free_port() -> int:
    """Give a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server listens."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"no server on port {port}")


def processor_seconds(pid: int) -> float:
    """Give how long a process has run on a processor; 0 where the system does not tell."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def turn(port: int, pid: int, seconds: float) -> tuple[float, float]:
    """Give requests per second, and processor microseconds a request."""
    before = processor_seconds(pid)
    answered, per_second = asyncio.run(rate(port, seconds))
    return per_second, (processor_seconds(pid) - before) / answered * 1e6


def measure(rounds: int, seconds: float) -> dict[str, float]:
    """Run both servers and let them take turns."""
    ports, loops = {variant: free_port() for variant in ("bare", "mesh")}, str(calibrated())
    children = {
        name: subprocess.Popen([sys.executable, __file__, "--serve", name, str(port), loops], env=os.environ.copy())
        for name, port in ports.items()
    }
    try:
        for port in ports.values():
            wait_for(port)
            asyncio.run(rate(port, 0.5))
        turns = [
            {name: turn(ports[name], child.pid, seconds) for name, child in children.items()} for _ in range(rounds)
        ]
    finally:
        for child in children.values():
            child.terminate()
        for child in children.values():
            child.wait(10)
    row = {
        "bare_per_s": statistics.median(one["bare"][0] for one in turns),
        "mesh_per_s": statistics.median(one["mesh"][0] for one in turns),
        "lost_percent": statistics.median(1 - one["mesh"][0] / one["bare"][0] for one in turns) * 100,
        "budget_percent": BUDGET,
    }
    if turns[0]["bare"][1]:
        row["bare_cpu_us"] = statistics.median(one["bare"][1] for one in turns)
        row["mesh_cpu_us"] = statistics.median(one["mesh"][1] for one in turns)
        row["lost_cpu_percent"] = statistics.median(1 - one["bare"][1] / one["mesh"][1] for one in turns) * 100
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=3, metavar=("VARIANT", "PORT", "LOOPS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve[0], int(args.serve[1]), int(args.serve[2]))
        return
    row = measure(args.rounds, args.seconds)
    print(f"{'FastAPI, 1 ms of work':<28}{'requests/s':>12}")
    print(f"{'bare':<28}{row['bare_per_s']:>12.0f}\n{'with the mesh':<28}{row['mesh_per_s']:>12.0f}")
    print(f"{'lost':<28}{row['lost_percent']:>11.1f}%   budget {BUDGET:.0f}%")
    if "bare_cpu_us" in row:
        print(f"{'processor us a request':<28}{row['bare_cpu_us']:>12.0f} -> {row['mesh_cpu_us']:.0f}")
        print(f"{'lost by processor time':<28}{row['lost_cpu_percent']:>11.1f}%")
    if args.json:
        args.json.write_text(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
