"""A tap on one replica, and the decisions of others over the same store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from calling import call
from desks import Served, served, served_by_two
from listening import Reader
from looking import SCOPE, WHO, Looking, decide, eventually, gone, kept
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, Config, DecisionRequest, Mesh
from mcp_sdk.context import MESH, EntityRef, Scope, Transition
from mcp_sdk.exceptions import RevisionConflict, StoreError, StoreUnavailable
from mcp_sdk.ports import Record, Store
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.app import create_app
from mcp_sdk.server.live import Live
from mcp_sdk.server.relays import batches, lookouts
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.server.streams import Stream
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.stores.sqlite import connect

ORDER = BusinessModel("order", states=("created",), attributes={"amount": "int"})


def two(work: Callable[[Store, Live, Live], Awaitable[None]], store: Store | None = None) -> None:
    """Do ``work`` with the default scope of two replicas."""

    async def run(one: Served, other: Served) -> None:
        await work(one.store, await one.desk.hub.scope(SCOPE), await other.desk.hub.scope(SCOPE))

    served_by_two(run, store)


def test_decisions_of_another_replica_are_shown_once_and_nothing_stays() -> None:
    """Each, in order; the replica's own come at once; when nobody looks on any more the store holds nothing of it."""

    async def work(store: Store, here: Live, there: Live) -> None:
        assert not await kept(store)
        with Looking(here, Filter()) as one, Looking(there, Filter()) as other:
            await eventually(lambda: there.taps._wanted and here.taps._wanted)
            for number in range(5):
                decide(there, f"there {number}")
                decide(here, f"here {number}")
                await asyncio.sleep(0.1)
            await eventually(lambda: len(one.shown) >= 10 and len(other.shown) >= 10)
            await asyncio.sleep(0.5)
        for looking in (one, other):
            assert sorted(looking.shown) == sorted({f"{where} {n}" for where in ("here", "there") for n in range(5)})
            assert [each for each in looking.shown if each.startswith("there")] == [f"there {n}" for n in range(5)]
            assert looking.missing == 0
        await eventually(lambda: not (here.taps.open or there.taps.open))
        await eventually(lambda: gone(store))

    two(work)


def test_only_what_somebody_wants_is_passed_on() -> None:
    """Filters of all onlookers are told to the others, and each onlooker is shown what fits its own."""

    async def work(store: Store, here: Live, there: Live) -> None:
        denied, paid = Filter(verdict="deny"), Filter(facts={"order.state": "paid"})
        with Looking(here, denied) as one, Looking(here, paid) as other:
            await eventually(lambda: len(there.taps._wanted) == 2)
            decide(there, "a", verdict="permit")
            decide(there, "b", verdict="deny")
            decide(there, "c", verdict="permit", contexts=[{"model": "order", "id": "1", "state": "paid"}])
            await eventually(lambda: one.shown and other.shown)
            assert (one.shown, other.shown) == (["b"], ["c"])
            assert one.missing == 0

    two(work)


def test_nothing_is_written_or_read_while_nobody_looks() -> None:
    """However much is decided."""

    async def work(store: Store, here: Live, there: Live) -> None:
        calls: list[str] = []
        await asyncio.sleep(0.5)
        for name in ("records", "put_record"):
            _count(store, name, calls)
        for _ in range(100):
            decide(there, "x")
            await asyncio.sleep(0.01)
        assert calls == []

    two(work)


def _count(store: Store, name: str, calls: list[str]) -> None:
    inner = getattr(store, name)

    async def counted(scope: Scope, *args: Any) -> Any:
        if lookouts.KIND in str(args) or batches.KIND in str(args):
            calls.append(name)
        return await inner(scope, *args)

    setattr(store, name, counted)


def test_a_burst_is_bounded_and_the_loss_is_said() -> None:
    """What does not fit is counted, to the last one."""

    async def work(store: Store, here: Live, there: Live) -> None:
        with Looking(here, Filter()) as one:
            await eventually(lambda: there.taps._wanted)
            for number in range(2000):
                decide(there, str(number))
            there.taps.dropped(7)
            await eventually(lambda: len(one.shown) + one.missing >= 2007)
            assert len(one.shown) + one.missing == 2007
            assert len(one.shown) <= 2 * batches.RATE
            for _ in range(3):
                decide(there, "y" * (batches.SIZE // 2))
            await eventually(lambda: len(one.shown) + one.missing >= 2010)
            assert sum(len(record.content["sealed"]["text"]) for record in await store.records(SCOPE, batches.KIND)) < (
                batches.SLOTS * batches.SIZE
            )

    two(work)


def test_what_is_stored_can_be_read_by_those_alone_who_look_on() -> None:
    """Neither decisions nor filters stand in the store as text: a log or a backup may keep what was in it."""

    async def work(store: Store, here: Live, there: Live) -> None:
        with Looking(here, Filter(facts={"order.id": "secret-1"})) as one:
            await eventually(lambda: there.taps._wanted)
            decide(there, "GET /x", contexts=[{"model": "order", "id": "secret-1"}])
            await eventually(lambda: store.records(SCOPE, batches.KIND))
            assert "secret-1" not in str(await kept(store))
            await eventually(lambda: one.shown)

    two(work)


def test_decisions_stay_in_the_store_for_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are erased though somebody looks on still."""
    monkeypatch.setattr(batches, "KEPT", 0.3)

    async def work(store: Store, here: Live, there: Live) -> None:
        with Looking(here, Filter()) as one:
            await eventually(lambda: there.taps._wanted)
            for name in ("a", "b"):
                decide(there, name)
                await eventually(lambda name=name: name in one.shown)
                await eventually(lambda: _empty(store))
            assert (one.shown, one.missing) == (["a", "b"], 0)

    two(work)


async def _empty(store: Store) -> bool:
    return not await store.records(SCOPE, batches.KIND)


def test_forgetting_an_entity_erases_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of replicas that live and of those that died; what comes after it is shown as before."""
    monkeypatch.setattr(batches, "KEPT", 1000.0)

    async def work(one: Served, other: Served) -> None:
        here, there = await one.desk.hub.scope(SCOPE), await other.desk.hub.scope(SCOPE)
        store, admin = one.store, await one.client(Grant("admin"))
        await store.append([Transition("order", "o-1", "created", "e-1")])
        with Looking(here, Filter()) as looking:
            await eventually(lambda: there.taps._wanted)
            decide(there, "before")
            await eventually(lambda: looking.shown)
            await store.put_record(SCOPE, Record(batches.KIND, "dead.0", {}))
            assert (await admin.delete("/v1/contexts/order/entity?id=o-1")).status_code == 200
            await eventually(lambda: _empty(store))
            await asyncio.sleep(0.5)
            assert not await store.records(SCOPE, batches.KIND)
            decide(there, "after")
            await eventually(lambda: "after" in looking.shown)
            assert looking.shown == ["before", "after"]

    served_by_two(work)


def test_a_store_that_forgets_by_itself_erases_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody asks the store and no server, replicas hear of it."""
    monkeypatch.setattr(batches, "KEPT", 1000.0)

    async def work(store: Store, here: Live, there: Live) -> None:
        await store.append([Transition("order", "o-1", "created", "e-1")])
        with Looking(here, Filter()) as looking:
            await eventually(lambda: there.taps._wanted)
            decide(there, "before")
            await eventually(lambda: looking.shown)
            await store.forget(SCOPE, EntityRef("order", "o-1"))
            await eventually(lambda: _empty(store))

    two(work)


def test_a_tap_shows_nothing_that_was_decided_before_it_began() -> None:
    """Though it still is in the store, and was for a tap before it."""

    async def work(store: Store, here: Live, there: Live) -> None:
        with Looking(here, Filter()) as first:
            await eventually(lambda: there.taps.open)
            decide(there, "before")
            await eventually(lambda: first.shown)
        with Looking(here, Filter()) as second:
            while not second.shown:
                decide(there, "after")
                await asyncio.sleep(0.05)
            assert set(second.shown) == {"after"}

    two(work)


def test_a_scope_sees_nothing_of_another() -> None:
    """Neither are its clients asked for anything."""

    async def work(one: Served, other: Served) -> None:
        foreign = Scope("other", "prod")
        here, there = await one.desk.hub.scope(SCOPE), await other.desk.hub.scope(SCOPE)
        apart = await other.desk.hub.scope(foreign)
        with Looking(here, Filter()) as looking:
            await eventually(lambda: there.taps.open)
            assert not apart.taps.open
            decide(apart, "foreign")
            decide(there, "ours")
            await eventually(lambda: looking.shown)
            assert looking.shown == ["ours"]

    served_by_two(work)


class Going(MemoryStore):
    """A store that may be away for whoever asks of records."""

    away = False

    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        self._answer(kind)
        return await super().records(scope, kind)

    async def put_record(self, scope: Scope, record: Record) -> Record:
        self._answer(record.kind)
        return await super().put_record(scope, record)

    def _answer(self, kind: str) -> None:
        if self.away and kind in (lookouts.KIND, batches.KIND):
            raise StoreUnavailable("nobody answers")


def test_a_store_that_is_away_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Decisions and the replica's own taps go on, the trouble is said once, and relaying goes on by itself."""
    store = Going()

    async def work(_: Store, here: Live, there: Live) -> None:
        with Looking(here, Filter()) as looking:
            await eventually(lambda: there.taps._wanted)
            store.away = True
            for number in range(500):
                decide(there, f"away {number}")
            decide(here, "here")
            assert looking.shown == ["here"]
            await asyncio.sleep(2.5)
            store.away = False
            await eventually(lambda: len(looking.shown) + looking.missing >= 501)
            decide(there, "back")
            await eventually(lambda: "back" in looking.shown)
            assert len(looking.shown) + looking.missing == 502

    two(work, store)
    assert 0 < caplog.text.count("taps wait for the store") <= 2


def test_a_replica_that_begins_later_hears_of_taps() -> None:
    """And a scope that is opened later."""

    async def work(one: Served) -> None:
        here = await one.desk.hub.scope(SCOPE)
        with Looking(here, Filter()) as looking:
            await eventually(lambda: kept(one.store))

            async def late(other: Served) -> None:
                there = await other.desk.hub.scope(SCOPE)
                await eventually(lambda: there.taps.open)
                decide(there, "late")
                await eventually(lambda: looking.shown)

            await asyncio.to_thread(served, late, one.store)

    served(work)


def test_clients_that_drop_decisions_say_so() -> None:
    """Here, and at other replicas."""

    async def work(one: Served, other: Served) -> None:
        here, there = await one.desk.hub.scope(SCOPE), await other.desk.hub.scope(SCOPE)
        with Looking(here, Filter()) as near, Looking(there, Filter()) as far:
            await eventually(lambda: here.taps._wanted and there.taps._wanted)
            stream = Stream(other.desk.hub, there, other.desk.settings, WHO)
            await stream.answer({"op": "decision", "record": {"operation": "x"}, "dropped": 3})
            await eventually(lambda: near.missing and far.missing)
            assert (near.shown, near.missing, far.shown, far.missing) == (["x"], 3, ["x"], 3)

    served_by_two(work)


def test_a_replica_that_leaves_erases_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though somebody looks on at another, and at itself."""
    monkeypatch.setattr(batches, "KEPT", 1000.0)

    async def work(one: Served) -> None:
        here, store = await one.desk.hub.scope(SCOPE), one.store

        async def beside() -> None:
            app = create_app(ServerSettings(), store)
            async with app.router.lifespan_context(app):
                there = await app.state.desk.hub.scope(SCOPE)
                there.taps.enter(Looking(there, Filter()))
                await eventually(lambda: there.taps._wanted)
                decide(there, "x")
                await eventually(lambda: looking.shown)
                assert len(await kept(store)) == 3

        with Looking(here, Filter()) as looking:
            await beside()
            await store.open()
            assert [record.kind for record in await kept(store)] == [lookouts.KIND]

    served(work)


def test_a_replica_that_was_taken_for_dead_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record is written anew when the time comes to renew it."""
    monkeypatch.setattr(lookouts, "RENEW", 0.5)

    async def work(store: Store, here: Live, there: Live) -> None:
        with Looking(here, Filter()) as looking:
            await eventually(lambda: there.taps.open)
            for record in await store.records(MESH, lookouts.KIND):
                with suppress(RevisionConflict):
                    await store.delete_record(MESH, record)
            await eventually(lambda: kept(store))
            while not looking.shown:
                decide(there, "x")
                await asyncio.sleep(0.05)

    two(work)


def test_a_tap_that_was_not_heard_of_for_a_while_is_shown_what_comes_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other replica counts anew by then, for it had let go of everything."""
    monkeypatch.setattr(lookouts, "COUNTS", 1.0)
    monkeypatch.setattr(lookouts, "RENEW", 3.0)

    async def work(one: Served, other: Served) -> None:
        here, there = await one.desk.hub.scope(SCOPE), await other.desk.hub.scope(SCOPE)
        with Looking(here, Filter()) as looking:
            await eventually(lambda: there.taps.open)
            for number in range(50):
                decide(there, f"before {number}")
            await eventually(lambda: len(looking.shown) == 50)
            await eventually(lambda: not there.taps.open)
            await eventually(lambda: _empty(one.store))
            await eventually(lambda: there.taps.open)
            decide(there, "after")
            await eventually(lambda: "after" in looking.shown)

    served_by_two(work)


class Picky(MemoryStore):
    """A store that cannot hold some scopes."""

    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        if scope.namespace == "none":
            raise StoreError("no such thing")
        return await super().records(scope, kind)


def test_records_that_anybody_wrote_keep_no_replica_from_its_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with which nothing can be sealed, a scope that cannot be; in the end they are erased."""
    told = {"key": "00" * 32, "looking": True, "looks": None, "relays": [["none", "none"]]}

    async def work(store: Store, here: Live, there: Live) -> None:
        for name in ("0", "g"):
            await store.put_record(MESH, Record(lookouts.KIND, name, told))
        with Looking(here, Filter()) as looking:
            while not looking.shown:
                decide(there, "x")
                await asyncio.sleep(0.05)
            assert {"0", "g"} <= {each.name for each in await kept(store)}
        monkeypatch.setattr(lookouts, "LEFT", 0.0)
        await eventually(lambda: gone(store))

    two(work, Picky())


def test_a_replica_closes_its_store_whatever_taps_raise() -> None:
    """What they left there others erase."""
    closed: list[bool] = []

    class Odd(MemoryStore):
        async def delete_record(self, scope: Scope, record: Record) -> None:
            raise ValueError("odd")

        async def close(self) -> None:
            closed.append(True)
            await super().close()

    async def work(one: Served) -> None:
        here = await one.desk.hub.scope(SCOPE)
        here.taps.enter(Looking(here, Filter()))
        await eventually(lambda: kept(one.store))

    served(work, Odd())
    assert closed


# Processes of their own


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    """Two servers over one file."""
    place = tmp_path / "other"
    place.mkdir()
    with Replica(tmp_path) as one, Replica(place, one.store, token=one.token) as other:
        yield one, other


def client(replica: Replica) -> httpx.Client:
    """Give a client as the first admin."""
    headers = {"authorization": f"Bearer {replica.token}"}
    return httpx.Client(base_url=replica.url, headers=headers, timeout=20, trust_env=False)


def mesh(replica: Replica, evaluation: Any = "local") -> Mesh:
    """Give a service on a replica."""
    config = Config(
        service="shop", control_plane=replica.url, token=replica.token, evaluation=evaluation, start_timeout=20.0
    )
    return Mesh(config, models=[ORDER])


def test_clients_of_every_kind_are_seen_from_the_other_replica(pair: tuple[Replica, Replica]) -> None:
    """Those that decide by themselves, thin ones for which the server does, and who asks it: each decision once."""
    one, other = pair
    with client(one) as admin, client(other) as asker, Reader(admin, "/v1/tap", {"kind": "decisions"}) as reader:
        with mesh(other) as shop:
            until(lambda: shop.decision_log.enabled)
            shop.decide(DecisionRequest("shop", "GET /mine"))
            shown = reader.next("decision").data
            assert (shown["record"]["operation"], shown["by"]["service"]) == ("GET /mine", "shop")
        assert asker.post("/v1/decide", json={"service": "shop", "operation": "GET /asked"}).status_code == 200
        shown = reader.next("decision").data
        assert (shown["record"]["operation"], shown["by"]) == ("GET /asked", {"server": True})
        with mesh(other, "server") as thin:
            until(lambda: thin.decision_log.enabled)
            assert call(thin, "/thin").status_code == 204
            shown = [reader.next("decision").data["record"]["operation"]]
            assert call(thin, "/last").status_code == 204
            shown += [reader.next("decision").data["record"]["operation"]]
            assert shown == ["GET /thin", "GET /last"]


def test_a_replica_that_is_killed_leaves_nothing_for_ever(
    pair: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is there erases what it had in the store, and clients send nothing more."""
    one, other = pair
    monkeypatch.setattr(lookouts, "LEFT", 3.0)
    monkeypatch.setattr(lookouts, "COUNTS", 2.0)
    with ExitStack() as open_now:
        admin = open_now.enter_context(client(one))
        reader = open_now.enter_context(Reader(admin, "/v1/tap", {"kind": "decisions"}))
        with mesh(other) as shop:
            until(lambda: shop.decision_log.enabled)
            shop.decide(DecisionRequest("shop", "GET /x"))
            reader.next("decision")
            other.kill()
            one.kill()

    async def work(at: Served) -> None:
        assert len(await at.store.records(MESH, lookouts.KIND)) == 2
        live = await at.desk.hub.scope(SCOPE)
        await eventually(lambda: gone(at.store))
        await eventually(lambda: not live.taps.open)

    served(work, connect(one.store, poll_interval=0.05))
