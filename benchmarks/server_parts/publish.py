"""Transitions a second over HTTP, in batches, beside the same store without the server."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from typing import Any

from mcp_sdk import Config
from mcp_sdk._plugins import STORES, load
from mcp_sdk.clients import api
from mcp_sdk.context import Transition
from mcp_sdk.ports import Store
from server_parts.processes import processor_seconds, replica

ROUNDS = 3


def moves(count: int) -> list[Transition]:
    return [
        Transition("order", f"o-{number}", "created", uuid.uuid4().hex, attributes={"amount": number}, source="shop")
        for number in range(count)
    ]


async def _by_http(url: str, token: str, sent: list[Transition], size: int, lanes: int) -> float:
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


async def open_store(url: str) -> Store:
    """Give the store of a URL, open."""
    store: Store = load(STORES, url)(url, poll_interval=0.05)
    await store.open()
    return store


async def _by_store(url: str, sent: list[Transition], size: int) -> float:
    store = await open_store(url)
    began = time.perf_counter()
    for start in range(0, len(sent), size):
        await store.append(sent[start : start + size])
    took = time.perf_counter() - began
    await store.close()
    return took


def measure(store: str) -> list[dict[str, Any]]:
    """Send the same to a server and to a store; the processor's time is the server's, a transition."""
    return [_row(store, *row) for row in ((500, 20_000, 2), (100, 20_000, 2), (1, 600, 1))]


def _row(store: str, size: int, count: int, lanes: int) -> dict[str, Any]:
    with replica(store) as (url, token, pid):
        asyncio.run(_by_http(url, token, moves(size), size, lanes))
        began = processor_seconds(pid)
        served = statistics.median(asyncio.run(_by_http(url, token, moves(count), size, lanes)) for _ in range(ROUNDS))
        used = processor_seconds(pid) - began
    with tempfile.TemporaryDirectory() as folder:
        place = store or f"sqlite:///{folder}/mesh.db"
        alone = statistics.median(asyncio.run(_by_store(place, moves(count), size)) for _ in range(ROUNDS))
    rates = {"served_per_s": count / served, "store_per_s": count / alone}
    return {"batch": size, **rates, "server_us": used / ROUNDS / count * 1e6}
