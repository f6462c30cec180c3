"""Transitions a second over HTTP, beside the same store without the server, and beside what its server takes raw.

All three take turns, with the same transitions. What is sent is made before the clock starts, and the client writes and
reads by hand: it is the server that is measured. p99 is of calls.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mcp_sdk._plugins import STORES, load
from mcp_sdk.context import Transition
from mcp_sdk.ports import Store
from server_parts import raw
from server_parts.processes import processor_seconds, quantiles, replica

ROUNDS = 5
ROWS = ((500, 20_000, 2), (100, 20_000, 2), (1, 1_000, 1), (1, 4_000, 16))
"""Transitions a call, in all, and connections."""


@dataclass
class Took:
    """The rounds of one way: transitions a second, and the seconds that each call took."""

    rates: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    def plain(self, name: str) -> dict[str, float]:
        return {f"{name}_per_s": statistics.median(self.rates), f"{name}_p99_ms": quantiles(self.calls)["p99_ms"]}


def moves(count: int) -> list[Transition]:
    return [
        Transition("order", f"o-{number}", "created", uuid.uuid4().hex, attributes={"amount": number}, source="shop")
        for number in range(count)
    ]


async def open_store(url: str) -> Store:
    """Give the store of a URL, open."""
    store: Store = load(STORES, url)(url, poll_interval=0.05)
    await store.open()
    return store


def _batches(sent: Sequence[Any], size: int) -> list[Any]:
    return [sent[start : start + size] for start in range(0, len(sent), size)]


async def _timed(took: Took, lanes: Sequence[Iterator[Callable[[], Awaitable[object]]]], count: int) -> None:
    async def lane(calls: Iterator[Callable[[], Awaitable[object]]]) -> None:
        for call in calls:
            began = time.perf_counter()
            await call()
            took.calls.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*map(lane, lanes))
    took.rates.append(count / (time.perf_counter() - began))


def _request(token: str, batch: Sequence[Transition]) -> bytes:
    body = json.dumps({"transitions": [one.to_dict() for one in batch]}).encode()
    head = f"POST /v1/transitions HTTP/1.1\r\nhost: mesh\r\nauthorization: Bearer {token}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes, answers: list[bytes]) -> None:
    writer.write(text)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"not stored: {head[:40]!r} {body[:200]!r}")
    answers.append(body)


async def _served(took: Took, url: str, token: str, sent: Sequence[Transition], size: int, lanes: int) -> None:
    place, texts, answers = urlsplit(url), [_request(token, batch) for batch in _batches(sent, size)], list[bytes]()
    ends = [await asyncio.open_connection(place.hostname, place.port) for _ in range(lanes)]
    calls = [
        iter([lambda end=end, text=text: _ask(*end, text, answers) for text in texts[number::lanes]])
        for number, end in enumerate(ends)
    ]
    await _timed(took, calls, len(sent))
    for _, writer in ends:
        writer.close()
    stored = sum(one["status"] == "applied" for answer in answers for one in json.loads(answer)["results"])
    if stored != len(sent):
        raise SystemExit(f"{stored} of {len(sent)} were stored")


def measure(store: str) -> list[dict[str, Any]]:
    """Send the same to a server, to a store, and to what the store is on; the processor's time is a transition's."""
    return [asyncio.run(_row(store, *row)) for row in ROWS]


async def _row(store: str, size: int, count: int, lanes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, replica(store) as (url, token, pid):
        place = store or f"sqlite:///{folder}/alone.db"
        alone = await open_store(place)
        served, stored, plain, used = Took(), Took(), Took(), list[float]()
        async with raw.opened(place) as (name, make, put):
            for _ in range(ROUNDS):
                sent, began = moves(count), processor_seconds(pid)
                await _served(served, url, token, sent, size, lanes)
                used.append((processor_seconds(pid) - began) / count * 1e6)
                batches = _batches(moves(count), size)
                await _timed(stored, [iter([lambda b=b: alone.append(b) for b in batches])], count)
                made = _batches(make(moves(count)), size)
                await _timed(plain, [iter([lambda b=b: put(b) for b in made])], count)
        await alone.close()
    figures = served.plain("served") | stored.plain("store") | plain.plain("raw")
    return {"batch": size, "connections": lanes, **figures, "raw": name, "server_us": statistics.median(used)}
