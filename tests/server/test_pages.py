"""Pages of answers: what many large values say comes in parts, and costs a replica the memory of few of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from desks import Served, served
from reading import blobs
from serving import Replica, resident

from mcp_sdk.audit import Entry
from mcp_sdk.context import EntityRef, Scope, Transition
from mcp_sdk.ports import Applied, Page
from mcp_sdk.server import pages
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.pages import PAGE
from mcp_sdk.stores.memory import MemoryStore

MIB = 1024 * 1024
HERE = Scope("default", "default")


class Counting(MemoryStore):
    """Counts the rows that are read of it."""

    rows = 0

    async def list(self, *args: Any, **named: Any) -> Page:
        found = await super().list(*args, **named)
        self.rows += len(found.contexts)
        return found

    async def history(self, *args: Any, **named: Any) -> tuple[Applied, ...]:
        found = await super().history(*args, **named)
        self.rows += len(found)
        return found


async def listed(client: httpx.AsyncClient, path: str, name: str, **asked: Any) -> list[list[dict[str, Any]]]:
    """Give the pages of a listing, one after another."""
    found, after, end = [], asked.pop("after", ""), False
    while not end:
        answer = await client.get(path, params={"after": after, **asked})
        assert answer.status_code == 200, answer.text
        assert len(answer.content) < PAGE + 1000
        plain = answer.json()
        found.append(plain[name])
        after, end = plain["after"], plain.get("end", not plain["after"])
    return found


@pytest.mark.parametrize(("count", "size", "limit", "most"), [(20, MIB - 4096, 1000, 8), (20, 10, 7, 7)])
def test_a_listing_comes_in_pages_of_which_none_is_too_large(count: int, size: int, limit: int, most: int) -> None:
    """Each page goes on after the one before: nothing is missing and nothing comes twice."""

    async def work(at: Served) -> None:
        await at.store.append(blobs(count, size))
        found = await listed(await at.client(Grant("viewer")), "/v1/contexts/blob", "contexts", limit=limit)
        assert [one["id"] for page in found for one in page] == [f"e-{number:03}" for number in range(count)]
        assert max(map(len, found)) == most

    served(work)


def test_an_entity_that_is_larger_than_a_page_is_a_page() -> None:
    """It would never be told of otherwise."""

    async def work(at: Served) -> None:
        large = {f"a{number}": "x" * MIB for number in range(9)}
        made = [
            Transition("blob", name, "s", name, attributes=attributes)
            for name, attributes in (("a", {}), ("b", large), ("c", {}))
        ]
        await at.store.append(made)
        client, after, told = await at.client(Grant("viewer")), "", list[list[str]]()
        while not told or after:
            page = (await client.get("/v1/contexts/blob", params={"after": after})).json()
            told.append([one["id"] for one in page["contexts"]])
            after = page["after"]
        assert told == [["a"], ["b"], ["c"]]

    served(work)


def test_few_rows_are_read_for_a_page_of_large_ones() -> None:
    """A store counts rows, so it is asked for few of them while they may be large."""
    store = Counting()

    async def work(at: Served) -> None:
        await at.store.append(blobs(60, 3 * MIB))
        client = await at.client(Grant("viewer"))
        page = (await client.get("/v1/contexts/blob", params={"limit": 1000})).json()
        assert len(page["contexts"]) == 2
        assert store.rows <= 3

    served(work, store)


def test_of_a_history_the_newest_are_told_and_that_older_ones_are_cut() -> None:
    """As many transitions as fit a page, each with the context after it, oldest first."""

    async def work(at: Served) -> None:
        await at.store.append([*blobs(30, MIB, entity="e"), *blobs(200, 10, entity="f")])
        client = await at.client(Grant("viewer"))
        answer = await client.get("/v1/contexts/blob/history", params={"id": "e", "limit": 1000})
        told, cut = answer.json().values()
        assert (len(answer.content) < PAGE, cut) == (True, True)
        assert [one["context"]["revision"] for one in told] == [28, 29, 30]
        told, cut = (await client.get("/v1/contexts/blob/history", params={"id": "f", "limit": 150})).json().values()
        assert ([one["context"]["revision"] for one in told], cut) == ([*range(51, 201)], False)
        told, cut = (await client.get("/v1/contexts/blob/history", params={"id": "nobody"})).json().values()
        assert (told, cut) == ([], False)

    served(work)


def test_the_audit_log_comes_in_pages_too() -> None:
    """Its readers go on after the last number, and see that the log goes on."""

    async def work(at: Served) -> None:
        entries: list[Entry] = []
        for number in range(1, 13):
            previous = entries[-1].digest if entries else "0" * 64
            made = Entry(number, "2026-01-01", "a", "b", "done", after="x" * MIB, previous=previous).sealed()
            entries.append(made)
            await at.store.append_audit(number, made.text())
        client = await at.client(Grant("admin"))
        found = await listed(client, "/v1/audit", "entries", after=0, limit=1000)
        assert [one["number"] for page in found for one in page] == [*range(1, 13)]
        assert [len(page) for page in found] == [7, 5]
        assert [len(page) for page in await listed(client, "/v1/audit", "entries", after=0, limit=5)] == [5, 5, 2]

    served(work)


def test_entities_that_are_more_than_a_page_are_not_looked_up_together() -> None:
    """Who asks for them is told to ask for fewer; one is told of however large it is."""

    async def work() -> None:
        store = MemoryStore()
        await store.open()
        await store.append(blobs(40, MIB))
        refs: Sequence[EntityRef] = [EntityRef("blob", f"e-{number:03}") for number in range(40)]
        with pytest.raises(pages.TooMuch, match="these 40 entities are more than 8388608 bytes: ask for fewer at once"):
            await pages.found(store, HERE, refs)
        found = await pages.found(store, HERE, [EntityRef("blob", "nobody"), *refs[:7]])
        assert [json.loads(one)["id"] for one in found] == [ref.entity_id for ref in refs[:7]]

    asyncio.run(work())


def test_pages_are_put_together_a_few_at_once() -> None:
    """Others wait for their turn, and are told to ask again where that does not come."""

    async def work() -> None:
        readers = asyncio.Semaphore(1)
        async with pages.turn(readers):
            with pytest.raises(Fault, match="puts 4 pages together at once") as refused:
                async with pages.turn(readers, 0.01):
                    pass
        async with pages.turn(readers, 0.01):
            pass
        assert (refused.value.status, refused.value.said) == (503, (("retry-after", "1"),))

    asyncio.run(work())


def test_a_listing_of_many_large_entities_costs_little_memory(tmp_path: Path) -> None:
    """400 MB of entities are listed by a replica that does not hold them at once."""
    with Replica(tmp_path) as replica, httpx.Client(base_url=replica.url, trust_env=False, timeout=60) as client:
        client.headers["authorization"] = f"Bearer {replica.token}"
        attributes = {f"a{number}": "x" * 1_000_000 for number in range(7)}
        for number in range(60):
            said = Transition("blob", f"e-{number}", "s", f"{number}", attributes=attributes).to_dict()
            assert client.post("/v1/transitions", json={"transitions": [said]}).status_code == 200
        before, names, after = resident(replica.pid), list[str](), ""
        while not names or after:
            page = client.get("/v1/contexts/blob", params={"limit": 1000, "after": after}).json()
            names += [one["id"] for one in page["contexts"]]
            after = page["after"]
            assert resident(replica.pid) - before < 150 * MIB
        assert names == sorted(f"e-{number}" for number in range(60))
