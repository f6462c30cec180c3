"""Policy applied → decided by N connections, beside a bare WebSocket server that sends as much to as many."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import Any

from mcp_sdk.clients.remote import RemoteControlPlane
from mcp_sdk.snapshot import PolicyRevision
from server_parts.processes import (
    ALONE,
    ORDER,
    crowd,
    free_port,
    plane,
    processor_seconds,
    quantiles,
    replica,
    resident,
    serving,
)

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


class Heard:
    """Gathers when each of ``count`` planes first decided by a revision, and tells it when all of them have."""

    def __init__(self, count: int, told: Any) -> None:
        self._count, self._told = count, told
        self._lock = threading.Lock()
        self._moments: dict[int, list[float]] = defaultdict(list)

    def plane(self, one: RemoteControlPlane) -> None:
        """Listen to one plane."""
        revision = 0

        def heard(_change: Any) -> None:
            nonlocal revision
            newest, now = one.snapshot().revision, time.monotonic()
            if newest > revision:
                revision = newest
                self._add(newest, now)

        one.subscribe(heard)

    def _add(self, revision: int, now: float) -> None:
        with self._lock:
            moments = self._moments[revision]
            moments.append(now)
            if len(moments) == self._count:
                self._told.put((revision, moments))


def clients(url: str, token: str, count: int, ready: Any, told: Any, end: Any) -> None:
    """Hold ``count`` planes; put (revision, monotonic seconds of each) into ``told`` once all of them decide by it."""
    sys.setswitchinterval(ALONE)
    planes = [plane(url, token) for _ in range(count)]
    heard = Heard(count, told)
    for one in planes:
        heard.plane(one)
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


def measure(count: int, store: str, rounds: int = 5) -> dict[str, Any]:
    """Apply policies one after another; give how long until every connection decided by each, from the call on.

    The processor's time is what server and clients took for one policy, per connection.
    """
    delays: list[float] = []
    with replica(store) as (url, token, pid):
        before = resident(pid)
        with crowd(clients, url, token, count) as (told, pids):
            grown = resident(pid) - before
            operator = plane(url, token)
            operator.start([ORDER]).result(30)
            while not operator.snapshot().models:
                time.sleep(0.01)
            time.sleep(1)
            base, began = operator.snapshot().revision, [processor_seconds(one) for one in (pid, *pids)]
            for number in range(rounds):
                delays += _applied(operator, told, len(pids), base + number)
            spent = [processor_seconds(one) - first for one, first in zip((pid, *pids), began, strict=True)]
            operator.close(1)
    each = 1e6 / rounds / count
    used = {"server_us": spent[0] * each, "client_us": sum(spent[1:]) * each}
    return {"clients": count, **quantiles(delays), "kb_a_client": grown / count / 1024, **used}


def _applied(operator: RemoteControlPlane, told: Any, processes: int, revision: int) -> list[float]:
    """Apply the next revision; give the seconds from then on until each client decided by it."""
    text = POLICY.format(number=revision)
    began = time.monotonic()
    done = operator.apply(PolicyRevision(revision, {}, {"a.yaml": text}))
    moments: list[float] = []
    while processes:
        number, heard = told.get(timeout=60)
        if number == revision + 1:
            processes -= 1
            moments += heard
    done.result(60)
    return [moment - began for moment in moments]


def bare_measure(count: int, size: int = 1500, rounds: int = 5) -> dict[str, Any]:
    """Send ``size`` bytes to as many, and give how long until each has them."""
    from websockets.sync.client import connect  # noqa: PLC0415

    delays: list[float] = []
    with bare(size) as (url, pid):
        before = resident(pid)
        with crowd(peers, url, "", count) as (told, _), connect(url, proxy=None) as asking:
            grown = resident(pid) - before
            for _ in range(rounds):
                began = time.monotonic()
                asking.send("all")
                delays += [told.get(timeout=60)[1] - began for _ in range(count)]
    return {"clients": count, **quantiles(delays), "kb_a_client": grown / count / 1024}
