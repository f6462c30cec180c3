"""Retention on a server: what a model no longer keeps is erased, by one replica for all."""

from __future__ import annotations

import asyncio
from pathlib import Path

from desks import Served, served

from mcp_sdk import BusinessModel
from mcp_sdk.audit import Entry
from mcp_sdk.context import MESH, EntityRef, Scope, Transition
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.housekeeping import RETAINING, housekeep, retain
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.leases import KIND, Lease
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


def test_a_replica_that_nobody_asked_erases_in_every_scope(tmp_path: Path) -> None:
    """Also where services only post transitions, to another replica; each run that erased something is audited."""

    async def work(at: Served) -> None:
        scope = Scope("quiet", "prod")
        shop = await at.client(Grant("publisher"), service="shop")
        declared = {"models": [BusinessModel("order", retention=0.01).to_dict()]}
        assert (await shop.post("/v1/models?namespace=quiet&environment=prod", json=declared)).status_code == 204
        await at.store.append([Transition("order", "1", "new", "e", namespace="quiet", environment="prod")])
        await asyncio.sleep(0.05)
        other = Hub(at.store, ServerSettings())
        lease, auditor = Lease(at.store, "housekeeping", "other"), Auditor(at.store)
        assert await lease.take()
        for _ in range(2):
            await retain(other, lease, auditor)
        assert await at.store.get(scope, [EntityRef("order", "1")]) == {}
        entries = [Entry.from_text(text) for text in await at.store.audit()]
        erased = [one for one in entries if one.what == "retention.erase"]
        assert [(one.who, one.scope, one.target, one.after["erased"]) for one in erased] == [
            ("housekeeping", scope, "order", 1)
        ]

    served(work)


def test_a_scope_whose_models_were_declared_before_is_remembered_when_they_are_declared_again() -> None:
    """Services declare their models at every start: what an earlier version stored is found that way."""

    async def work(at: Served) -> None:
        order = BusinessModel("order", retention=60.0)
        await at.store.put_models(SCOPE, [order])
        assert await at.store.records(MESH, RETAINING) == ()
        shop = await at.client(Grant("publisher"), service="shop")
        for _ in range(2):
            await shop.post("/v1/models", json={"models": [order.to_dict(), BusinessModel("user").to_dict()]})
        assert [one.content["scope"] for one in await at.store.records(MESH, RETAINING)] == [list(SCOPE)]

    served(work)
