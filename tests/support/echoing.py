"""A watch that hears what its own handle writes while it can read nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mcp_sdk.ports import Store
from mcp_sdk.testing.stores import collect, move

__all__ = ["hears_without_reading"]


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
