"""Transitions per second that the store on NATS acknowledges, and p99 of a call, beside JetStream alone.

Two references, in turns with ours in the same run, on the same server, each acknowledged and with the same bytes:
``each`` publishes every transition as a message of its own, a batch's acknowledgements awaited together, as one uses
JetStream by itself; ``one`` publishes a batch as one message, as the store does, and so is the bare wire.
Neither settles, compares, recognises duplicates or keeps an order of revisions. Usage::

    python integrations/nats/benchmarks/append.py [--json FILE] [--count N] [--url nats://127.0.0.1:4222]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
from mcp_sdk_nats import connect
from mcp_sdk_nats.messages import Batch, Entry, pack
from nats.js import JetStreamContext

from mcp_sdk.context import ModelContext, Transition, Trust
from mcp_sdk.ports import AppendStatus, Applied
from mcp_sdk.stores.ledger import moved

ROUNDS = 5
TARGET = 0.7
SIZES = (500, 100, 1)


@dataclass(frozen=True)
class Took:
    """How long the calls of one round took, in seconds."""

    whole: float
    calls: list[float]


def transitions(count: int) -> list[Transition]:
    """Give transitions that create a third as many entities and then move them."""
    run = uuid.uuid4().hex[:6]
    return [
        Transition(
            "order",
            f"o-{run}-{number % max(count // 3, 1)}",
            ("created", "paid", "shipped")[number * 3 // count],
            uuid.uuid4().hex,
            attributes={"amount": number, "region": "eu"},
            source="shop",
            operation="POST /orders",
        )
        for number in range(count)
    ]


def body(sent: list[Transition]) -> bytes:
    """Give the bytes that the store writes for transitions."""
    contexts = (moved(ModelContext(t.model, t.entity_id, trust=Trust.STORE), t) for t in sent)
    pairs = zip(sent, contexts, strict=True)
    return pack(Batch(time.time(), [Entry(Applied(t, AppendStatus.APPLIED, c), 123456) for t, c in pairs]))


async def timed(calls: list[Callable[[], Awaitable[object]]]) -> Took:
    """Make calls one after another."""
    took, began = [], time.perf_counter()
    for call in calls:
        start = time.perf_counter()
        await call()
        took.append(time.perf_counter() - start)
    return Took(time.perf_counter() - began, took)


async def ours(store: Any, batches: list[list[Transition]]) -> Took:
    """Append through the store."""
    return await timed([lambda batch=batch: store.append(batch) for batch in batches])


async def each(js: JetStreamContext, subject: str, batches: list[list[Transition]]) -> Took:
    """Publish every transition as a message."""
    bodies = [[body([t]) for t in batch] for batch in batches]

    async def publish(messages: list[bytes]) -> None:
        await asyncio.gather(*[await js.publish_async(subject, message) for message in messages])

    return await timed([lambda messages=messages: publish(messages) for messages in bodies])


async def one(js: JetStreamContext, subject: str, batches: list[list[Transition]]) -> Took:
    """Publish every batch as a message."""
    bodies = [body(batch) for batch in batches]
    return await timed([lambda message=message: js.publish(subject, message) for message in bodies])


async def measure(url: str, count: int) -> list[dict[str, Any]]:
    """Measure every batch size, ours and the references in turns."""
    name = f"nats_bench_{uuid.uuid4().hex[:8]}"
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(name=f"{name}_raw", subjects=[f"{name}_raw"])
    store = connect(f"{url}/{name}")
    await store.open()
    try:
        return [await row(store, js, f"{name}_raw", size, count if size > 1 else count // 20) for size in SIZES]
    finally:
        await store.close()
        for stream in (name, f"{name}_state", f"{name}_raw"):
            await js.delete_stream(stream)
        await client.close()


async def row(store: Any, js: JetStreamContext, subject: str, size: int, count: int) -> dict[str, Any]:
    """Measure one batch size."""
    took: dict[str, list[Took]] = {"nats": [], "each": [], "one": []}
    for _ in range(ROUNDS):
        sent = transitions(count)
        batches = [sent[start : start + size] for start in range(0, count, size)]
        took["nats"].append(await ours(store, batches))
        took["each"].append(await each(js, subject, batches))
        took["one"].append(await one(js, subject, batches))
    found: dict[str, Any] = {"what": f"append, {size} a call"}
    for name, rounds in took.items():
        calls = sorted(call for each_ in rounds for call in each_.calls)
        found[name] = count / statistics.median(each_.whole for each_ in rounds)
        found[f"{name}_p99_ms"] = calls[int(len(calls) * 0.99)] * 1e3
    return found


def main() -> None:
    """Measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--url", default="nats://127.0.0.1:4222")
    asked = parser.parse_args()
    rows = asyncio.run(measure(asked.url, asked.count))
    print("| what | store, 1/s | p99, ms | each, 1/s | p99, ms | one, 1/s | p99, ms | of each | of one |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for found in rows:
        cells = [f"{found[key]:,.{1 if key.endswith('ms') else 0}f}" for key in list(found)[1:]]
        shares = [f"{found['nats'] / found[name]:.0%}" for name in ("each", "one")]
        print(f"| {' | '.join([found['what'], *cells, *shares])} |")
    if asked.json:
        asked.json.write_text(json.dumps({"target": TARGET, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
