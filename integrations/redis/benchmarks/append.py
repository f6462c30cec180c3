"""What the store in Redis takes per second, beside raw ``XADD`` of the same bytes in the same run.

``xadd`` sends the packed transitions that the store sends, made before the clock starts, to a bare stream: one command
each in a pipeline of the batch's size. ``optimistic`` is the way that was not taken: the rule in Python between WATCH
and EXEC, tried again when another writer came between. They take turns. ``hot`` is eight writers that move one entity,
a transition a call. Rates count transitions, p99 is of calls. Usage::

    python integrations/redis/benchmarks/append.py [--url redis://127.0.0.1:6379/0] [--count N] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mcp_sdk_redis import connect, rows
from redis.asyncio import Redis
from redis.exceptions import WatchError

from mcp_sdk.context import EntityRef, Scope, Transition
from mcp_sdk.stores.ledger import Ledger, entity_key, event_key

ROUNDS, WRITERS, TARGET = 3, 8, 0.7
PREFIX = "mcp_sdk_bench"
Send = Callable[[Sequence[Any]], Awaitable[Any]]


def transitions(count: int) -> list[Transition]:
    """Give transitions that create a third as many entities and then move them."""
    return [
        Transition(
            "order",
            f"o-{number % max(count // 3, 1)}",
            ("created", "paid", "shipped")[number * 3 // count],
            uuid.uuid4().hex,
            attributes={"amount": number, "region": "eu"},
            source="shop",
            operation="POST /orders",
        )
        for number in range(count)
    ]


def chunks(sent: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut into batches."""
    return (sent[start : start + size] for start in range(0, len(sent), size))


async def timed(send: Send, sent: Sequence[Any], size: int) -> tuple[float, list[float]]:
    """Send all in batches; give the seconds it took, and those of each call."""
    calls = []
    began = last = time.perf_counter()
    for batch in chunks(sent, size):
        await send(batch)
        now = time.perf_counter()
        calls.append(now - last)
        last = now
    return last - began, calls


class Optimistic:
    """Contexts, event ids, a stream: the least that a store needs, with the ledger's rule run in this process."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self.client, self.prefix, self.retries = client, prefix, 0

    async def append(self, sent: Sequence[Transition]) -> None:
        """Apply transitions; watch every entity they name, and begin anew when one was written meanwhile."""
        names = {entity_key(t): f"{{{self.prefix}}}:e:{t.entity_id}" for t in sent}
        while True:
            async with self.client.pipeline(transaction=True) as pipeline:
                await pipeline.watch(*names.values())
                try:
                    await self._attempt(pipeline, names, sent)
                except WatchError:
                    self.retries += 1
                else:
                    return

    async def _attempt(self, pipeline: Any, names: dict[Any, str], sent: Sequence[Transition]) -> None:
        texts = await pipeline.mget(*names.values())
        seen = await pipeline.hmget(f"{{{self.prefix}}}:seen", [t.event_id for t in sent])
        assert not any(seen)
        held = {key: rows.context(EntityRef(*key[2:]), text) for key, text in zip(names, texts, strict=True) if text}
        ledger = Ledger(held, {})
        ledger.settle(sent)
        pipeline.multi()
        for key, after in ledger.moved.items():
            plain = after.to_dict()
            values = {name: json.dumps(value) for name, value in plain["attributes"].items()}
            row = (after.state, after.revision, plain["observed_at"], after.source, plain["entered_at"], values)
            pipeline.set(names[key], json.dumps(row))
        for entry in ledger.entries:
            pipeline.xadd(f"{{{self.prefix}}}:log", {"t": json.dumps(entry.transition.to_dict())})
        pipeline.hset(f"{{{self.prefix}}}:seen", mapping={event_key(t)[2]: "1" for t in sent})
        await pipeline.execute()


async def throughput(url: str, count: int, size: int) -> dict[str, Any]:
    """Measure appends per second in batches of one size, the three taking turns."""
    took: dict[str, list[float]] = {"store": [], "xadd": [], "optimistic": []}
    calls: dict[str, list[float]] = {"store": [], "xadd": [], "optimistic": []}
    store = connect(f"{url}?prefix={PREFIX}")
    await store.open()
    async with Redis.from_url(url) as client:

        async def xadd(batch: Sequence[bytes]) -> None:
            pipeline = client.pipeline(transaction=False)
            for packed in batch:
                pipeline.xadd(f"{{{PREFIX}}}:raw", {"t": packed})
            await pipeline.execute()

        for number in range(ROUNDS):
            sent = transitions(count)
            packed = rows.pack(sent)[2]
            optimistic = Optimistic(client, f"{PREFIX}:{number}")
            for name, send, what in (
                ("store", store.append, sent),
                ("xadd", xadd, packed),
                ("optimistic", optimistic.append, sent),
            ):
                seconds, each = await timed(send, what, size)
                took[name].append(seconds)
                calls[name] += each
            await erase(client)
            await store.open()
    await store.close()
    figures = {name: count / statistics.median(seconds) for name, seconds in took.items()}
    p99 = {f"{name}_p99_ms": sorted(each)[int(len(each) * 0.99)] * 1e3 for name, each in calls.items()}
    return {"what": f"append, {size} a call", **figures, **p99, "ratio": figures["store"] / figures["xadd"]}


async def hot(url: str, count: int) -> dict[str, Any]:
    """Measure writers that move one entity at once."""
    stores = [connect(f"{url}?prefix={PREFIX}") for _ in range(WRITERS)]
    for store in stores:
        await store.open()
    each = count // WRITERS
    async with Redis.from_url(url) as client:
        rival = Optimistic(client, f"{PREFIX}:hot")
        figures = {}
        for name, sends in (("store", [store.append for store in stores]), ("optimistic", [rival.append] * WRITERS)):
            began = time.perf_counter()
            await asyncio.gather(*(timed(send, moves(each), 1) for send in sends))
            figures[name] = each * WRITERS / (time.perf_counter() - began)
        found = await stores[0].get(Scope(), [EntityRef("order", "hot")])
        assert [context.revision for context in found.values()] == [each * WRITERS]
        await erase(client)
    for store in stores:
        await store.close()
    return {"what": f"{WRITERS} writers, one entity", **figures, "retries": rival.retries / (each * WRITERS)}


def moves(count: int) -> list[Transition]:
    """Give transitions of one entity."""
    return [Transition("order", "hot", f"s{number}", uuid.uuid4().hex) for number in range(count)]


async def erase(client: Redis) -> None:
    """Take away what this program wrote."""
    async for key in client.scan_iter(match=f"{{{PREFIX}*", count=1000):
        await client.unlink(key)


async def measure(url: str, count: int) -> list[dict[str, Any]]:
    """Give a row of figures for each way."""
    try:
        sizes = ((500, count), (100, count), (1, max(count // 10, 1)))
        return [*[await throughput(url, number, size) for size, number in sizes], await hot(url, count // 10)]
    finally:
        async with Redis.from_url(url) as client:
            await erase(client)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=30_000)
    args = parser.parse_args()
    measured = asyncio.run(measure(args.url, args.count))
    for row in measured:
        values = ", ".join(f"{key} {value:,.2f}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['what']:<24} {values}")
    print(f"target: ratio >= {TARGET} in batches")
    if args.json:
        args.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
