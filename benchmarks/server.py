"""What the control-plane server carries: fan-out, memory a client, transitions and snapshots, each beside a reference.

Every part starts ``mcpctl serve`` as a process of its own, with clients in at most four processes::

    python benchmarks/server.py [--part fanout publish snapshot] [--clients 10 100 1000] [--store URL] [--json FILE]

``fanout``    policy applied → decided by N connections; beside a bare WebSocket server that sends as much to as many

``publish``   transitions a second over HTTP, in batches; beside the same store without the server
``snapshot``  100 000 rules: from ``apply`` to decided by a client
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from mcp_sdk import BusinessModel, Config
from mcp_sdk.clients.remote import RemoteControlPlane
from mcp_sdk.context import Scope, Transition
from mcp_sdk.ports import Identity
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.telemetry import Telemetry

ORDER = BusinessModel("order", states=("created", "paid", "shipped"))
PROCESSES = 4
POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: a, namespace: default}}
spec:
  target: {{service: shop}}
  default: permit
  rules:
  - {{name: r{number}, when: "has(order.state) && order.state == 'paid'", effect: deny}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], url: str, folder: str):
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                httpx.get(f"{url}/readyz", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def replica(store: str):
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        url, place = f"http://127.0.0.1:{port}", store or f"sqlite:///{folder}/mesh.db"
        command = [sys.executable, "-m", "mcp_sdk.cli", "serve", "--store", place, "--port", str(port)]
        with serving([*command, "--token-file", f"{folder}/token"], url, folder) as pid:
            yield url, Path(f"{folder}/token").read_text().strip(), pid


BARE = """
import asyncio, os, sys
from websockets.asyncio.server import broadcast, serve
PEERS = set()
async def handle(peer):
    PEERS.add(peer)
    async for said in peer:
        if said == "all":
            broadcast(PEERS, "x" * int(sys.argv[2]))
def health(connection, request):
    if request.path == "/readyz":
        return connection.respond(200, "ok")
async def main():
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), compression=None, process_request=health):
        await asyncio.Future()
asyncio.run(main())
"""


@contextmanager
def bare(size: int):
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with serving([sys.executable, "-c", BARE, str(port), str(size)], f"http://127.0.0.1:{port}", folder) as pid:
            yield f"ws://127.0.0.1:{port}", pid


def resident(pid: int) -> int:
    """Give the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def plane(url: str, token: str, **settings: Any) -> RemoteControlPlane:
    config = Config(service="shop", control_plane=url, token=token, **settings)
    return RemoteControlPlane(url, Identity("shop"), config, Telemetry())


def clients(url: str, token: str, count: int, ready: Any, told: Any, end: Any) -> None:
    """Hold ``count`` planes; put (revision, monotonic seconds) into ``told`` for each that a plane decides by."""
    planes = [plane(url, token) for _ in range(count)]
    for one in planes:
        state = {"revision": 0}

        def heard(_change: Any, one: Any = one, state: Any = state) -> None:
            revision = one.snapshot().revision
            if revision > state["revision"]:
                state["revision"] = revision
                told.put((revision, time.monotonic()))

        one.subscribe(heard)
        one.start([]).result(120)
    ready.put(count)
    end.wait()
    for one in planes:
        one.close(0.1)


def peers(url: str, _token: str, count: int, ready: Any, told: Any, end: Any) -> None:
    """Hold ``count`` bare connections; put the moment of each message into ``told``."""
    from websockets.asyncio.client import connect  # noqa: PLC0415

    async def listen(socket_: Any) -> None:
        async for _ in socket_:
            told.put((0, time.monotonic()))

    async def run() -> None:
        sockets = [await connect(url, compression=None, max_size=None, proxy=None) for _ in range(count)]
        tasks = [asyncio.create_task(listen(one)) for one in sockets]
        ready.put(count)
        await asyncio.to_thread(end.wait)
        for task in tasks:
            task.cancel()

    asyncio.run(run())


@contextmanager
def crowd(target: Any, url: str, token: str, count: int):
    context = multiprocessing.get_context("spawn")
    ready, told, end = context.Queue(), context.Queue(), context.Event()
    shares = [share for share in _shares(count) if share]
    processes = [context.Process(target=target, args=(url, token, share, ready, told, end)) for share in shares]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get(timeout=300)
    try:
        yield told
    finally:
        end.set()
        for process in processes:
            process.join(60)
            process.kill()


def _shares(count: int) -> list[int]:
    return [count // PROCESSES + (number < count % PROCESSES) for number in range(PROCESSES)]


def quantiles(delays: list[float]) -> dict[str, float]:
    ordered = sorted(delays)
    return {
        "p50_ms": statistics.median(ordered) * 1000,
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
        "max_ms": ordered[-1] * 1000,
    }


def fanout(count: int, store: str, rounds: int = 5) -> dict[str, Any]:
    """Apply policies one after another; give how long until every connection decided by each."""
    delays: list[float] = []
    with replica(store) as (url, token, pid):
        before = resident(pid)
        with crowd(clients, url, token, count) as told:
            grown = resident(pid) - before
            operator = plane(url, token)
            operator.start([ORDER]).result(30)
            while not operator.snapshot().models:
                time.sleep(0.01)
            time.sleep(1)
            base = operator.snapshot().revision
            for number in range(rounds):
                revision = PolicyRevision(base + number, {}, {"a.yaml": POLICY.format(number=number)})
                applied = _applied(operator, revision)
                delays += [told.get(timeout=60)[1] - applied for _ in range(count)]
            operator.close(1)
    return {"clients": count, **quantiles(delays), "kb_a_client": grown / count / 1024}


def _applied(operator: RemoteControlPlane, revision: PolicyRevision) -> float:
    """Give when the server had acknowledged a policy, or when a client heard of it before that: the apply's start."""
    began = time.monotonic()
    operator.apply(revision).result(60)
    return began


def bare_fanout(count: int, size: int = 1500, rounds: int = 5) -> dict[str, Any]:
    from websockets.sync.client import connect  # noqa: PLC0415

    delays: list[float] = []
    with bare(size) as (url, pid):
        before = resident(pid)
        with crowd(peers, url, "", count) as told, connect(url, proxy=None) as asking:
            grown = resident(pid) - before
            for _ in range(rounds):
                began = time.monotonic()
                asking.send("all")
                delays += [told.get(timeout=60)[1] - began for _ in range(count)]
    return {"clients": count, **quantiles(delays), "kb_a_client": grown / count / 1024}


def moves(count: int) -> list[Transition]:
    return [
        Transition("order", f"o-{number}", "created", uuid.uuid4().hex, attributes={"amount": number}, source="shop")
        for number in range(count)
    ]


async def _by_http(url: str, token: str, sent: list[Transition], size: int, lanes: int) -> float:
    from mcp_sdk.clients import api  # noqa: PLC0415

    batches = [sent[start : start + size] for start in range(0, len(sent), size)]
    client = api.async_client(url, Config(token=token))

    async def lane(mine: list[list[Transition]]) -> None:
        for batch in mine:
            await api.asend(client, api.append(batch))

    began = time.perf_counter()
    await asyncio.gather(*(lane(batches[number::lanes]) for number in range(lanes)))
    took = time.perf_counter() - began
    await client.aclose()
    return took


async def _by_store(url: str, sent: list[Transition], size: int) -> float:
    from mcp_sdk._plugins import STORES, load  # noqa: PLC0415

    store = load(STORES, url)(url, poll_interval=0.05)
    await store.open()
    began = time.perf_counter()
    for start in range(0, len(sent), size):
        await store.append(sent[start : start + size])
    took = time.perf_counter() - began
    await store.close()
    return took


def publish(store: str) -> list[dict[str, Any]]:
    rows = []
    for size, count, lanes in ((500, 20_000, 2), (100, 20_000, 2), (1, 600, 1)):
        with replica(store) as (url, token, _):
            served = statistics.median(asyncio.run(_by_http(url, token, moves(count), size, lanes)) for _ in range(3))
        with tempfile.TemporaryDirectory() as folder:
            place = store or f"sqlite:///{folder}/mesh.db"
            alone = statistics.median(asyncio.run(_by_store(place, moves(count), size)) for _ in range(3))
        rows.append({"batch": size, "served_per_s": count / served, "store_per_s": count / alone})
    return rows


def snapshot(rules: int, store: str) -> dict[str, Any]:
    """Put ``rules`` rules in force by the store, and time a client from its start to its first decision by them."""
    sys.path.insert(0, str(Path(__file__).parent))
    from policy_engines import programs  # noqa: PLC0415
    from policy_engines import rules as made  # noqa: PLC0415

    whole = json.loads(programs.programs(made.rules("eq", rules).rules))
    with tempfile.TemporaryDirectory() as folder:
        place = store or f"sqlite:///{folder}/mesh.db"
        asyncio.run(_store_programs(place, whole))
        with replica(place) as (url, token, pid):
            one = plane(url, token)
            began = time.perf_counter()
            one.start([]).result(120)
            took = time.perf_counter() - began
            assert one.snapshot().revision == 1
            served = resident(pid)
            one.close(1)
    return {"rules": rules, "client_s": took, "server_mb": served / 2**20}


async def _store_programs(url: str, whole: dict[str, Any]) -> None:
    from mcp_sdk._plugins import STORES, load  # noqa: PLC0415

    store = load(STORES, url)(url, poll_interval=0.05)
    await store.open()
    await store.put_policies(Scope(), PolicyRevision(0, whole))
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("fanout", "publish", "snapshot")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--clients", nargs="+", type=int, default=[10, 100, 1000])
    parser.add_argument("--store", default="")
    parser.add_argument("--json")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    if "fanout" in options.part:
        result["fanout"] = [{"who": "ours", **fanout(count, options.store)} for count in options.clients]
        result["fanout"] += [{"who": "bare", **bare_fanout(count)} for count in options.clients]
    if "publish" in options.part:
        result["publish"] = publish(options.store)
    if "snapshot" in options.part:
        result["snapshot"] = snapshot(100_000, options.store)
    text = json.dumps(result, indent=2)
    if options.json:
        Path(options.json).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
