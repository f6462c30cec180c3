"""A handle does not read back from PostgreSQL what it wrote itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from echoing import hears_without_reading, keeps_little
from mcp_sdk_postgres import connect, log
from schemas import Schemas

from mcp_sdk.testing.stores import move

pytestmark = pytest.mark.services


def test_a_watch_of_its_own_handle_reads_nothing_again(schemas: Schemas, tmp_path: Path, monkeypatch: Any) -> None:
    """While only this handle appends, the entries of the log are not read."""
    store = connect(schemas.url(tmp_path))
    hears_without_reading(store, lambda refuse: monkeypatch.setattr(log, "applied_from_row", refuse))


def test_a_slow_watch_has_little_kept(schemas: Schemas, tmp_path: Path) -> None:
    """What is written for a watch that stands still takes 16 MB of this process at most, and all of it is heard."""
    keeps_little(connect(schemas.url(tmp_path)))


def test_a_schema_that_was_replaced_asks_for_a_resync(schemas: Schemas, tmp_path: Path) -> None:
    """A watch whose schema was dropped and made anew, as by a restore, is told when it is written."""
    url = schemas.url(tmp_path)

    async def run() -> None:
        store = connect(url)
        await store.open()
        await store.append([move(f"o-{number}") for number in range(5)])
        watch = store.watch(await store.cursor())
        following = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.2)
        schemas.execute(f'DROP SCHEMA "{schemas.name(tmp_path)}" CASCADE')
        other = connect(url)
        await other.open()
        await other.append([move("o-new")])
        async with asyncio.timeout(30):
            assert (await following).kind == "resync"
            await store.append([move("o-own")])
            await other.append([move("o-next")])
            heard = [(await anext(watch)).applied.context.entity_id]
            while heard[-1] != "o-next":
                heard.append((await anext(watch)).applied.context.entity_id)
        assert heard in (["o-own", "o-next"], ["o-new", "o-own", "o-next"])  # the first may be before the resync
        await store.close()
        await other.close()

    asyncio.run(run())
