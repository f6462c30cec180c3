"""The audit of the server: before and after every change, one chain, and nothing done without it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from desks import Served, served

from mcp_sdk import BusinessModel
from mcp_sdk.audit import Entry, verify
from mcp_sdk.context import Scope
from mcp_sdk.exceptions import RevisionConflict, StoreUnavailable
from mcp_sdk.server.access.callers import Caller, Grant
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores.memory import MemoryStore

ADMIN = Grant("admin")
ADA = Caller("ada", (ADMIN,), key="token:x")
POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  target: {service: shop}
  default: {version: v1}
"""
ORDER = BusinessModel("order", states=("created", "paid")).to_dict()


async def log(store: MemoryStore) -> list[Entry]:
    """Give the log, whose chain must hold."""
    texts = await store.audit(limit=10_000)
    assert verify(texts) is None
    return [Entry.from_text(text) for text in texts]


class Outrun(MemoryStore):
    """A store in which somebody else always publishes just before."""

    async def put_policies(self, scope: Scope, policies: PolicyRevision) -> PolicyRevision:
        """Refuse."""
        raise RevisionConflict("policies", expected=policies.revision, actual=policies.revision + 1)


class Deaf(MemoryStore):
    """A store whose audit log cannot be written from some entry on."""

    last = 0

    async def append_audit(self, number: int, entry: str) -> None:
        """Refuse entries after ``last``."""
        if number > self.last:
            raise StoreUnavailable("the disk is full")
        await super().append_audit(number, entry)


def test_every_change_is_audited_before_and_after() -> None:
    """Who, what, where, before and after; the digests of policy files, and nothing of a token's secret."""

    async def work(at: Served) -> None:
        client = await at.client(ADMIN, name="ada")
        await client.post("/v1/models", json={"models": [ORDER]})
        applied = await client.post(
            "/v1/policies?environment=prod", json={"sources": {"a.yaml": POLICY}, "replaces": 0}
        )
        assert applied.status_code == 200, applied.text
        made = (await client.post("/v1/tokens", json={"name": "t", "grants": [{"role": "viewer"}]})).json()
        await client.put("/v1/owners/order", json={"services": ["shop"]})
        await client.put("/v1/protections/AccessPolicy")
        assert (await client.delete(f"/v1/tokens/{made['id']}")).status_code == 204
        entries = await log(at.store)
        whats = ["models.declare", "policies.apply", "token.create", "model.own", "policies.protect", "token.revoke"]
        assert [(one.what, one.phase) for one in entries] == [(w, p) for w in whats for p in ("begun", "done")]
        assert {one.who for one in entries} == {"ada"}
        assert all(one.identity.startswith("token:") for one in entries)
        begun, done = entries[2:4]
        assert (done.begun, begun.before, done.after["revision"]) == (begun.number, None, 1)
        assert (begun.scope.environment, entries[-2].before["name"]) == ("prod", "t")
        held = "".join(await at.store.audit(limit=100))
        assert made["text"].split("_", 2)[2] not in held
        assert "sha256" not in held

    served(work)


def test_a_refused_change_says_so_in_the_log() -> None:
    """What failed is audited as failed, with the reason."""

    async def work(at: Served) -> None:
        client = await at.client(ADMIN)
        body = {"sources": {"a.yaml": POLICY}, "replaces": 0}
        assert (await client.post("/v1/policies", json=body)).status_code == 409
        _, failed = await log(at.store)
        assert failed.phase == "failed"
        assert failed.detail.startswith("RevisionConflict")

    served(work, Outrun())


def test_what_replaces_another_revision_is_no_change() -> None:
    """A conflict that is seen before anything is done is not in the log."""

    async def work(at: Served) -> None:
        client = await at.client(ADMIN)
        body = {"sources": {"a.yaml": POLICY}, "replaces": 7}
        answer = await client.post("/v1/policies", json=body)
        assert (answer.status_code, answer.json()["expected"], answer.json()["actual"]) == (409, 7, 0)
        assert await log(at.store) == []

    served(work)


def test_nothing_is_done_that_cannot_be_audited() -> None:
    """Where the first entry cannot be stored the change is refused; where the second cannot, the first stands."""

    async def work(at: Served) -> None:
        client = await at.client(ADMIN)
        body = {"sources": {"a.yaml": POLICY}, "replaces": 0}
        assert (await client.post("/v1/policies", json=body)).status_code == 503
        assert (await client.get("/v1/policies")).json() == {"revisions": []}
        at.store.last = 1
        assert (await client.post("/v1/policies", json=body)).status_code == 200
        assert [one.phase for one in await log(at.store)] == ["begun"]

    served(work, Deaf())


def test_replicas_write_one_chain() -> None:
    """Many at once, from several replicas: no number is lost, and every beginning has its end."""

    async def run() -> None:
        store = MemoryStore()
        await store.open()
        auditors = [Auditor(store) for _ in range(3)]

        async def change(number: int) -> None:
            async with auditors[number % 3].change(ADA, "x", target=str(number)) as done:
                await asyncio.sleep(0)
                done.after = number

        await asyncio.gather(*(change(number) for number in range(30)))
        entries = await log(store)
        ends = {one.begun: one.target for one in entries if one.phase == "done"}
        assert ends == {one.number: one.target for one in entries if one.phase == "begun"}
        assert len(entries) == 60
        assert await Auditor(store).head() == entries[-1].head

    asyncio.run(run())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 31, 100])
def test_the_head_of_a_log_of_any_length_is_found(count: int) -> None:
    """A new replica goes on where the log ends."""

    async def run() -> None:
        store = MemoryStore()
        await store.open()
        writer = Auditor(store)
        for _ in range(count):
            await writer._write(Entry(0, "", "ada", "x", "begun"))
        head = await Auditor(store).head()
        assert head.number == count
        assert head == await writer.head()

    asyncio.run(run())


def test_a_caller_held_to_a_namespace_sees_its_entries_only() -> None:
    """It pages through all numbers, and is told that what it sees is not the whole."""

    async def work(at: Served) -> None:
        admin = await at.client(ADMIN)
        for namespace in ("shop", "bank", "shop"):
            await admin.post(f"/v1/models?namespace={namespace}", json={"models": [ORDER]})
        operator = await at.client(Grant("operator", "shop"))
        seen: list[Any] = []
        after, end = 0, False
        while not end:
            page = (await operator.get("/v1/audit", params={"after": after, "limit": 1})).json()
            seen, after, end = seen + page["entries"], page["after"], page["end"]
        assert [one["namespace"] for one in seen] == ["shop", "shop"]
        assert not page["whole"]
        whole = (await admin.get("/v1/audit")).json()
        assert whole["whole"]
        assert verify([Entry.from_dict(one).text() for one in json.loads(json.dumps(whole["entries"]))]) is None
        assert whole["head"]["number"] == 4

    served(work)


def _written(store: MemoryStore, number: int, text: str) -> None:
    store._audit[number - 1] = text  # as somebody who can write to the store would


@pytest.mark.parametrize("text", ["{{{", "[]", '{"number": 2}', '{"number": true}', ""])
def test_an_entry_that_cannot_be_read_is_shown_as_it_is(text: str) -> None:
    """The others can be read on, and whoever verifies is told which one it is."""
    store = MemoryStore()

    async def work(at: Served) -> None:
        client = await at.client(ADMIN)
        for where in ("a", "b"):
            await client.post("/v1/models", params={"environment": where}, json={"models": [ORDER]})
        _written(store, 2, text)
        page = (await client.get("/v1/audit")).json()
        assert page["entries"][1] == {"unreadable": text}
        assert (page["after"], page["end"], len(page["entries"])) == (4, True, 4)
        part = (await client.get("/v1/audit?after=1&limit=1")).json()
        assert (part["after"], part["end"]) == (2, False)
        local = await at.client(Grant("admin", "default"))
        assert len((await local.get("/v1/audit")).json()["entries"]) == 3

    served(work, store)


def test_a_log_that_ends_in_what_cannot_be_read_is_not_written_on() -> None:
    """A replica that starts over it does nothing, and says why; the log can still be read."""

    async def run() -> None:
        store = MemoryStore()
        await store.open()
        async with Auditor(store).change(ADA, "test"):
            pass
        _written(store, 2, "{{{")
        auditor = Auditor(store)
        assert (await auditor.head()).number == 2
        with pytest.raises(StoreUnavailable, match="last entry cannot be read"):
            async with auditor.change(ADA, "test"):
                raise AssertionError

    asyncio.run(run())


@pytest.mark.parametrize(("kept", "said"), [(2, "cut off"), (4, "not the one that was written")])
def test_a_log_that_was_changed_is_told_of_by_a_replica_that_knows_better(
    kept: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The chain goes on from what is there, and holds: later only a head that was kept elsewhere could tell."""

    async def run() -> None:
        store = MemoryStore()
        await store.open()
        auditor = Auditor(store)
        for _ in range(2):
            async with auditor.change(ADA, "test"):
                pass
        del store._audit[2:]
        while len(store._audit) < kept:
            async with Auditor(store).change(ADA, "another"):
                pass
        assert (await auditor.head()).number == kept

    asyncio.run(run())
    assert said in caplog.text
