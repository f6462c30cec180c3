"""A watch of the handle that writes: it hears while it can read nothing, and has little kept while it is slow."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any

from mcp_sdk.ports import Store
from mcp_sdk.stores.echoes import MOST
from mcp_sdk.testing.stores import collect, move

__all__ = ["hears_without_reading", "keeps_little"]


def hears_without_reading(store: Store, forbid: Callable[[Callable[..., Any]], object]) -> None:
    """Watch a store that writes alone; ``forbid`` puts what it is given in place of what reads an entry of the log."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("an entry was read back")

    async def run() -> None:
        await store.open()
        watching = asyncio.create_task(collect(store, await store.cursor(), 60))
        await asyncio.sleep(0.3)
        forbid(refuse)
        ids = [f"o-{number}" for number in range(60)]
        for start in range(0, 60, 3):
            await store.append([move(entity_id) for entity_id in ids[start : start + 3]])
        heard = [change.applied.transition.entity_id for change in await watching if change.applied]
        await store.close()
        assert heard == ids

    asyncio.run(run())


def keeps_little(store: Store) -> None:
    """Write three times what may be kept for a watch, in large changes, while it stands still; then it hears all."""
    large, count = 512 * 1024, 3 * MOST // (512 * 1024)

    async def run() -> None:
        await store.open()
        watch = store.watch(await store.cursor())
        await store.append([move("first")])
        heard = [await anext(watch)]
        tracemalloc.start()
        for number in range(count):
            await store.append([move(f"o-{number}", attributes={"note": chr(97 + number % 26) * large})])
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        heard += [await anext(watch) for _ in range(count)]
        await store.close()
        assert held < MOST + 4 * large
        assert [change.applied.transition.entity_id for change in heard if change.applied][1:] == [
            f"o-{number}" for number in range(count)
        ]

    asyncio.run(run())
