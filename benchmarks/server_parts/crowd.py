"""Transitions at a rate that is offered, whatever becomes of them, over a million entities of which clients hold some.

Tells what was accepted, how late clients heard of the changes of what they hold (from the making of a transition, and
from the sending of its batch, which comes later where the server does not keep up), how many they never heard of, and
what memory the server took.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from queue import Empty
from typing import Any

from mcp_sdk import Config
from mcp_sdk.clients import api
from mcp_sdk.context import EntityRef, Transition
from server_parts.processes import ALONE, crowd, plane, quantiles, replica, resident
from server_parts.publish import open_store

HOLDS, BATCH, LANES = 1_000, 500, 4
PATIENCE = 10.0
"""Seconds that the last changes get to arrive."""


def held(seed: int, entities: int) -> list[str]:
    """Give the ids that one client holds."""
    return [f"o-{number}" for number in random.Random(seed).sample(range(entities), min(HOLDS, entities))]


class Heard:
    """How late changes were heard of, in seconds since they were made and since they were sent; and lost streams."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._late: list[tuple[float, float]] = []
        self._resyncs = 0

    def hear(self, change: Any) -> None:
        """Take one change."""
        now = datetime.now(UTC)
        with self._lock:
            self._resyncs += change.kind == "resync"
            if change.applied is not None:
                moved = change.applied.transition
                since = now - moved.observed_at
                self._late.append((since.total_seconds(), now.timestamp() - moved.attributes["sent"]))

    def take(self) -> tuple[list[tuple[float, float]], int]:
        """Give what was heard since the last time."""
        with self._lock:
            taken, self._late, self._resyncs = (self._late, self._resyncs), [], 0
            return taken


def holders(url: str, token: str, count: int, ready: Any, told: Any, end: Any, entities: int, first: Any) -> None:
    """Hold ``count`` planes with entities of their own; put how late they heard of changes into ``told``, now and then.

    ``first`` numbers the clients of all processes.
    """
    sys.setswitchinterval(ALONE)
    with first.get_lock():
        seed, first.value = first.value, first.value + count
    heard = Heard()
    planes = [plane(url, token) for _ in range(count)]
    for number, one in enumerate(planes, seed):
        one.start([]).result(300)
        refs = [EntityRef("order", entity_id) for entity_id in held(number, entities)]
        one.fetch(refs).result(300)
        one.subscribe(heard.hear)
    ready.put(count)
    while not end.wait(0.5):
        told.put(heard.take())
    for one in planes:
        one.close(0.1)


class Offer:
    """Sends batches when they are due, on ``LANES`` connections, and counts what was accepted."""

    def __init__(self, rate: int, seconds: float, entities: int) -> None:
        self._rate, self._entities = rate, entities
        self._batches = iter(range(int(rate * seconds / BATCH)))
        self._random = random.Random(7)
        self.accepted: Counter[str] = Counter()
        self.took = 0.0

    async def run(self, url: str, token: str) -> None:
        """Offer everything; what is late is sent as soon as a connection is free."""
        client = api.async_client(url, Config(token=token))
        began, now = time.perf_counter(), datetime.now(UTC)
        await asyncio.gather(*(self._lane(client, began, now) for _ in range(LANES)))
        self.took = time.perf_counter() - began
        await client.aclose()

    async def _lane(self, client: Any, began: float, now: datetime) -> None:
        for number in self._batches:
            due = number * BATCH / self._rate
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            sent = list(self._moves(now + timedelta(seconds=due)))
            await api.asend(client, api.append(sent))
            self.accepted.update(one.entity_id for one in sent)

    def _moves(self, due: datetime) -> Iterator[Transition]:
        sent = time.time()
        for _ in range(BATCH):
            entity = f"o-{self._random.randrange(self._entities)}"
            yield Transition(
                "order", entity, "paid", uuid.uuid4().hex, attributes={"sent": sent}, source="shop", observed_at=due
            )


async def _fill(place: str, entities: int) -> None:
    store = await open_store(place)
    for start in range(0, entities, 1000):
        ids = range(start, min(start + 1000, entities))
        await store.append([Transition("order", f"o-{one}", "created", f"made-{one}", source="shop") for one in ids])
    await store.close()


def measure(store: str, rates: Iterable[int], clients: int, entities: int, seconds: float) -> list[dict[str, Any]]:
    """Fill a store with entities once, and offer one rate after another to a server of its own over it."""
    with tempfile.TemporaryDirectory() as folder:
        place = store or f"sqlite:///{folder}/mesh.db"
        asyncio.run(_fill(place, entities))
        return [_row(place, rate, clients, entities, seconds) for rate in rates]


def _row(place: str, rate: int, clients: int, entities: int, seconds: float) -> dict[str, Any]:
    first, offer = multiprocessing.get_context("spawn").Value("i", 0), Offer(rate, seconds, entities)
    with replica(place) as (url, token, pid):
        alone = resident(pid)
        with crowd(holders, url, token, clients, entities, first) as (told, pids):
            holding = resident(pid)
            asyncio.run(offer.run(url, token))
            late, resyncs = _drained(told)
            memory = {"mb_alone": alone, "mb_holding": holding, "mb_after": resident(pid)}
    expected = sum(offer.accepted[one] for number in range(clients) for one in held(number, entities))
    accepted = sum(offer.accepted.values()) / offer.took
    found = {"offered_per_s": rate, "accepted_per_s": accepted, "clients": clients, "processes": len(pids)}
    return (
        found
        | _lateness(late)
        | {"heard": len(late), "missed": expected - len(late), "resyncs": resyncs}
        | {name: size / 2**20 for name, size in memory.items()}
    )


def _drained(told: Any) -> tuple[list[tuple[float, float]], int]:
    """Gather what was heard until ``PATIENCE`` is over."""
    late, resyncs, until = [], 0, time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            some, lost = told.get(timeout=0.2)
        except Empty:
            continue
        late += some
        resyncs += lost
    return late, resyncs


def _lateness(late: list[tuple[float, float]]) -> dict[str, Any]:
    if not late:
        return {}
    made, sent = (quantiles(one) for one in zip(*late, strict=True))
    return {"since_sent": sent, "since_made": made}
