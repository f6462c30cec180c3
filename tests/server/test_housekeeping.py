"""Retention on a server: what a model no longer keeps is erased, by one replica for all."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mcp_sdk import BusinessModel
from mcp_sdk.context import MESH, EntityRef, Scope, Transition
from mcp_sdk.server.housekeeping import housekeep
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.leases import KIND
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.stores.sqlite import connect

SCOPE = Scope()


def test_what_was_kept_long_enough_is_erased_by_one_of_two_replicas(tmp_path: Path) -> None:
    """Of two replicas over one file one holds the lease; a model without retention is kept for ever."""

    async def living() -> None:
        url = f"sqlite:///{tmp_path / 'mesh.db'}"
        hubs = [Hub(connect(url), ServerSettings(store=url)) for _ in range(2)]
        for hub in hubs:
            await hub.start()
            await hub.scope(SCOPE)
        store, refs = hubs[0].store, [EntityRef("order", "1"), EntityRef("user", "1")]
        await store.put_models(SCOPE, [BusinessModel("order", retention=0.2), BusinessModel("user")])
        await store.append([Transition(*ref, "new", ref.model) for ref in refs])
        work = [asyncio.create_task(housekeep(hub, 0.05)) for hub in hubs]
        async with asyncio.timeout(20):
            while refs[0] in await store.get(SCOPE, refs):  # noqa: ASYNC110 - another task erases it
                await asyncio.sleep(0.02)
        assert set(await store.get(SCOPE, refs)) == {refs[1]}
        assert len(await store.records(MESH, KIND)) == 1
        for task in work:
            task.cancel()
        for hub in hubs:
            await hub.close()

    asyncio.run(living())
