"""The local control plane, over real stores."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.control.local import LocalControlPlane, connect
from mcp_sdk.decisions import DecisionRequest, Denied
from mcp_sdk.exceptions import MeshError, RevisionConflict, StoreError, StoreUnavailable, UnknownPlugin
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.compile import compile_policies
from mcp_sdk.ports import Change, Identity, Status, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.stores.sqlite import SqliteStore
from mcp_sdk.telemetry import Telemetry

ORDER = BusinessModel("order", states=("created", "paid", "shipped"))
REF = EntityRef("order", "o-1")
ACCESS = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a, namespace: default}
spec:
  target: {service: shop}
  default: permit
  rules:
  - {name: paid, when: "has(order.state) && order.state == 'paid'", effect: deny}
"""
CONFIG = Config(poll_interval=0.01, linger=0.001, start_timeout=5.0)


FORKS = pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")


class Planes:
    """Makes planes, and closes them at the end."""

    def __init__(self) -> None:
        self.made: list[LocalControlPlane] = []

    def __call__(self, store: Store, config: Config = CONFIG, **identity: str) -> LocalControlPlane:
        plane = LocalControlPlane(store, Identity("shop", **identity), config, Telemetry())
        self.made.append(plane)
        return plane

    def started(self, store: Store, config: Config = CONFIG, **identity: str) -> LocalControlPlane:
        plane = self(store, config, **identity)
        plane.start([ORDER]).result(10)
        return plane


@pytest.fixture
def planes() -> Iterator[Planes]:
    made = Planes()
    yield made
    for plane in made.made:
        plane.close(5)


@pytest.fixture(params=["memory", "sqlite"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, planes: Planes) -> tuple[LocalControlPlane, LocalControlPlane]:
    """Two planes over one storage, as two processes have them."""
    if request.param == "memory":
        store = MemoryStore()
        return planes.started(store), planes.started(store)
    return tuple(planes.started(SqliteStore(tmp_path / "mesh.db", poll_interval=0.01)) for _ in range(2))


def move(to_state: str = "created", entity_id: str = "o-1", **fields: object) -> Transition:
    return Transition("order", entity_id, to_state, uuid.uuid4().hex, **fields)


def compiled(source: str = ACCESS, revision: int = 0) -> PolicyRevision:
    return PolicyRevision(revision, compile_policies({"a.yaml": source}, {"order": ORDER}), {"a.yaml": source}, "ann")


def paid() -> DecisionRequest:
    return DecisionRequest("shop", contexts={"order": ModelContext("order", "o-1", "paid")})


def wait_until(true: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.005)


def test_nothing_starts_before_it_is_needed(planes):
    """Making a plane starts no thread and opens no store, and looking at it does not either."""
    before = threading.active_count()
    plane = planes(MemoryStore())
    assert plane.status() is Status.UNAVAILABLE
    assert plane.decide(DecisionRequest("shop")).permitted
    assert (plane.known(REF), plane.endpoints("shop"), plane.keys()) == (None, (), ())
    assert plane.flush(1)
    assert threading.active_count() == before


def test_what_is_published_is_known_here_at_once_and_elsewhere_soon(pair):
    """A change is read back at once with its tentative revision, then with its stored one, and by another plane."""
    here, there = pair
    here.publish([move(attributes={"amount": 5}, base_revision=0)])
    assert here.known(REF).rank == (0, True)
    assert here.flush(5)
    assert here.known(REF).rank == (1, False)
    assert there.known(REF) is None
    found = there.fetch([REF, EntityRef("order", "none")]).result(5)
    assert {ref: dict(context.attributes) for ref, context in found.items()} == {REF: {"amount": 5}}
    here.publish([move("paid", from_state="created", base_revision=1)])
    wait_until(lambda: there.known(REF).state == "paid")
    assert there.known(REF).rank == (2, False)


def test_quick_changes_of_one_process_are_all_stored(pair):
    """A run of changes, each made on top of the one before it that is not stored yet, loses none."""
    here, there = pair
    for number, (start, end) in enumerate(itertools.pairwise(["created", "paid", "shipped", "paid", "shipped"])):
        known = here.known(REF)
        here.publish([move(start, base_revision=0)] if not number else [])
        known = here.known(REF)
        here.publish([move(end, from_state=start, base_revision=known.revision)])
    assert here.flush(5)
    assert (here.known(REF).state, here.known(REF).revision) == ("shipped", 5)
    assert there.fetch([REF]).result(5)[REF].revision == 5


def test_a_change_that_lost_gives_way_to_the_stores_truth(pair):
    """When another process was first, the own change is withdrawn and the stored context is known."""
    here, there = pair
    there.publish([move(base_revision=0)])
    assert there.flush(5)
    here.publish([move("shipped", base_revision=0)])
    assert here.flush(5)
    wait_until(lambda: here.known(REF) is not None and here.known(REF).rank == (1, False))
    assert here.known(REF).state == "created"


def test_a_partial_context_is_completed(pair):
    """A change of an entity that this process never saw is known with all attributes once it is stored."""
    here, there = pair
    there.publish([move(attributes={"region": "eu"})])
    assert there.flush(5)
    here.publish([move("paid", attributes={"amount": 1})])
    assert here.flush(5)
    wait_until(lambda: dict(here.known(REF).attributes) == {"region": "eu", "amount": 1})


def test_policies_reach_every_plane(pair):
    """A policy set applied at one plane decides there at once, and at the other soon."""
    here, there = pair
    assert here.decide(paid()).permitted
    applied = here.apply(compiled()).result(10)
    assert applied.revision == 1
    assert isinstance(here.decide(paid()).verdict, Denied)
    wait_until(lambda: not there.decide(paid()).permitted)
    assert there.snapshot().revision == 1
    assert here.needs(replace(paid(), contexts={}, references=(REF,))) == (REF,)


def test_a_policy_set_replaces_the_one_it_names(pair):
    """Who names another revision than the current one is told so."""
    here, there = pair
    here.apply(compiled()).result(10)
    with pytest.raises(RevisionConflict):
        there.apply(compiled()).result(10)
    assert there.apply(compiled(revision=1)).result(10).revision == 2


def test_a_set_that_cannot_be_loaded_is_not_stored(planes):
    """Programs are loaded before they are stored; what is refused changes nothing."""
    plane = planes.started(MemoryStore())
    with pytest.raises(MeshError):
        plane.apply(PolicyRevision(0, {"format": 999})).result(10)
    assert plane.snapshot().revision == 0
    assert plane.apply(compiled()).result(10).revision == 1


def test_a_broken_set_in_the_store_changes_nothing_in_force(planes, caplog):
    """A set that cannot be loaded is reported, the one before stays in force, and the status is stale until mended."""
    store = MemoryStore()
    plane = planes.started(store)
    plane.apply(compiled()).result(10)
    asyncio.run(store.put_policies(Scope(), PolicyRevision(1, {"format": 999})))
    wait_until(lambda: plane.status() is Status.STALE)
    assert not plane.decide(paid()).permitted
    assert "revision 2 cannot be loaded" in caplog.text
    plane.apply(compiled(revision=2)).result(10)
    assert plane.status() is Status.READY


@pytest.mark.parametrize("programs", ["{", "[]", "null", "[[[]]]"])
def test_a_set_damaged_in_the_file_is_said_once_and_hides_no_change(planes, tmp_path, caplog, programs):
    """What was in force stays, the watch goes on with what comes behind it, and the next good set mends it."""
    path = tmp_path / "mesh.db"
    plane, other = (planes.started(SqliteStore(path, poll_interval=0.01)) for _ in range(2))
    plane.apply(compiled()).result(10)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO policies VALUES (1, 2, ?, '{}', '', '')", (programs,))
        db.execute("INSERT INTO log (at, scope, kind) VALUES (0, 1, 'policies')")
    wait_until(lambda: plane.status() is Status.STALE)
    heard = []
    plane.subscribe(lambda change: heard.append(change.applied.transition.entity_id if change.applied else ""))
    other.publish([move(entity_id="o-9")])
    wait_until(lambda: "o-9" in heard)
    assert not plane.decide(paid()).permitted
    assert sum("cannot be loaded" in text for text in caplog.messages) <= 4  # once a plane and notice
    plane.apply(compiled(revision=2)).result(10)
    assert plane.status() is Status.READY


def test_a_broken_set_at_the_start_is_told(planes):
    """With nothing good in force, starting fails with the reason, and the plane is unavailable until mended."""
    store = MemoryStore()
    asyncio.run(store.put_policies(Scope(), PolicyRevision(0, {"format": 999})))
    plane = planes(store)
    with pytest.raises(MeshError):
        plane.start([ORDER]).result(10)
    assert plane.status() is Status.UNAVAILABLE
    plane.apply(compiled(revision=1)).result(10)
    assert plane.status() is Status.READY


def test_models_are_declared_and_more_may_follow(pair):
    """Models of every service are in the snapshot; a second start adds to the first."""
    here, there = pair
    here.start([BusinessModel("user")]).result(10)
    assert set(here.snapshot().models) == {"order", "user"}
    wait_until(lambda: set(there.snapshot().models) == {"order", "user"})


def test_endpoints_come_and_go(pair):
    """A registered endpoint is seen by other planes and is gone when its plane closes."""
    here, there = pair
    endpoint = Endpoint("shop", "http://127.0.0.1:1", version="v1")
    here.register(endpoint, ttl=60).result(10)
    assert here.endpoints("shop") == (endpoint,)
    wait_until(lambda: there.endpoints("shop") == (endpoint,))
    here.register(replace(endpoint, weight=3), ttl=60).result(10)
    wait_until(lambda: [e.weight for e in there.endpoints("shop")] == [3])
    here.close(5)
    wait_until(lambda: there.endpoints("shop") == ())


@FORKS
def test_leases_are_renewed_and_run_out(planes, tmp_path):
    """A lease is renewed while its process lives, and runs out when the process is killed."""
    path, config = tmp_path / "mesh.db", replace(CONFIG, lease=0.3)
    here, there = (planes.started(SqliteStore(path, poll_interval=0.01), config) for _ in range(2))
    child = os.fork()
    if child == 0:
        here.register(Endpoint("shop", "http://127.0.0.1:1"), ttl=0.3)
        signal.pause()
    wait_until(lambda: there.endpoints("shop"))
    quiet = time.monotonic() + 1.0
    while time.monotonic() < quiet:
        assert there.endpoints("shop")
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_until(lambda: not there.endpoints("shop"))


def test_subscribers_hear_of_every_change_of_their_scope(pair):
    """Callbacks get transitions of both planes, late ones too; one that fails does not silence the others."""
    here, there = pair
    heard: list[Change] = []

    def fail(_: Change) -> None:
        raise RuntimeError("boom")

    there.subscribe(fail)
    unsubscribe = there.subscribe(heard.append)
    here.publish([move(base_revision=0), move("paid", base_revision=5)])
    there.publish([move(entity_id="o-2"), move(entity_id="o-3", namespace="elsewhere")])
    wait_until(lambda: len([change for change in heard if change.applied]) == 3)
    unsubscribe()
    here.publish([move(entity_id="o-4")])
    assert here.flush(5)
    wait_until(lambda: there.fetch([EntityRef("order", "o-4")]).result(5))
    told = [(change.applied.transition.entity_id, change.applied.status.value) for change in heard if change.applied]
    assert sorted(told) == [("o-1", "applied"), ("o-1", "late"), ("o-2", "applied")]


def test_listing_goes_to_the_store(pair):
    """Entities are listed by state and prefix, in pages."""
    here, there = pair
    here.publish([move("paid" if n % 2 else "created", f"o-{n}") for n in range(6)])
    assert here.flush(5)
    page = there.list("order", state="paid", limit=2).result(5)
    assert [context.entity_id for context in page.contexts] == ["o-1", "o-3"]
    assert [c.entity_id for c in there.list("order", state="paid", after=page.after).result(5).contexts] == ["o-5"]


def test_planes_of_one_file_share_a_signing_key(planes, tmp_path):
    """The first plane on a SQLite file makes a key, all of its scope have it; configured keys or memory make none."""
    path = tmp_path / "mesh.db"
    first, second = (planes.started(SqliteStore(path)) for _ in range(2))
    wait_until(lambda: first.keys() == second.keys() and first.keys())
    assert len(first.keys()[0].secret) == 32
    other = planes.started(SqliteStore(path), namespace="other")
    ours, theirs = first.keys(), other.keys()
    assert {key.kid for key in theirs}.isdisjoint(key.kid for key in ours)
    assert planes.started(MemoryStore()).keys() == ()
    configured = planes.started(SqliteStore(tmp_path / "b.db"), replace(CONFIG, signing_keys="a:" + "00" * 16))
    assert configured.keys() == ()


def test_a_forgotten_entity_is_forgotten_by_every_plane(pair):
    """When an entity is erased from the store, planes that held it let go of it."""
    here, there = pair
    here.publish([move()])
    assert here.flush(5)
    there.fetch([REF]).result(5)
    store = here._store
    here._sessions.get().loop.submit(lambda: store.forget(Scope(), REF)).result(5)
    wait_until(lambda: here.known(REF) is None and there.known(REF) is None)


def test_retention_follows_the_model(planes, tmp_path):
    """Housekeeping erases entities of a model whose retention is over."""
    plane = planes(SqliteStore(tmp_path / "mesh.db", poll_interval=0.01))
    plane.start([replace(ORDER, retention=0.01), BusinessModel("user")]).result(10)
    plane.publish([move(), Transition("user", "u", "vip", "e")])
    assert plane.flush(5)
    time.sleep(0.05)
    session = plane._sessions.get()
    session.loop.submit(session._retain).result(10)
    assert set(plane.fetch([REF, EntityRef("user", "u")]).result(5)) == {EntityRef("user", "u")}


def test_a_store_that_is_away_at_the_start_is_waited_for(planes, tmp_path, caplog):
    """Until the store comes, the plane is unavailable, the queue absorbs, calls go on; then everything is caught up."""
    path = tmp_path / "later" / "mesh.db"
    plane = planes(SqliteStore(path, poll_interval=0.01), replace(CONFIG, start_timeout=0.1))
    started = plane.start([ORDER])
    plane.publish([move()])
    assert plane.known(REF).state == "created"
    registered = plane.register(Endpoint("shop", "http://127.0.0.1:1"))
    with pytest.raises(StoreUnavailable, match=r"within 0\.1 s"):
        plane.list("order").result(5)
    assert plane.status() is Status.UNAVAILABLE
    assert plane.decide(paid()).permitted
    assert not started.done()
    assert "directory must exist" in caplog.text
    path.parent.mkdir()
    started.result(10)
    registered.result(10)
    assert plane.flush(10)
    assert plane.status() is Status.READY
    assert plane.known(REF).rank == (1, False)
    assert plane.endpoints("shop")


def test_a_store_that_goes_away_leaves_the_policies_in_force(planes, tmp_path):
    """While the file is gone the plane is stale and decides as before; when it is back, what waited is stored."""
    path = tmp_path / "mesh.db"
    plane = planes.started(SqliteStore(path, poll_interval=0.01))
    plane.apply(compiled()).result(10)
    hidden = tmp_path / "hidden"
    for file in list(tmp_path.glob("mesh.db*")):
        hidden.mkdir(exist_ok=True)
        file.rename(hidden / file.name)
    path.mkdir()
    wait_until(lambda: plane.status() is Status.STALE)
    assert not plane.decide(paid()).permitted
    plane.publish([move()])
    assert not plane.flush(0.1)
    path.rmdir()
    for file in hidden.iterdir():
        file.rename(tmp_path / file.name)
    assert plane.flush(10)
    wait_until(lambda: plane.status() is Status.READY)
    assert plane.snapshot().revision == 1


def test_a_locked_store_costs_no_call_and_loses_nothing(planes, tmp_path):
    """While another process holds the lock, publishing returns at once; afterwards all is stored."""
    path = tmp_path / "mesh.db"
    plane = planes.started(SqliteStore(path, poll_interval=0.01, busy_timeout=0.02))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(50):
            plane.publish([move(entity_id=f"o-{number}")])
        assert not plane.flush(0.2)
        other.execute("ROLLBACK")
    assert plane.flush(10)
    assert len(plane.list("order").result(5).contexts) == 50


def test_a_plane_learns_while_another_process_writes(planes, tmp_path):
    """Reading policies waits for no lock, so who starts meanwhile does not begin by permitting everything."""
    path = tmp_path / "mesh.db"
    planes.started(SqliteStore(path)).apply(compiled()).result(10)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        plane = planes.started(SqliteStore(path, busy_timeout=0.02))
        assert plane.status() is Status.READY
        assert not plane.decide(paid()).permitted
        other.execute("ROLLBACK")


def test_what_could_not_be_learned_at_the_start_is_learned_later(planes):
    """A store that goes away between two reads of the beginning is asked for all of it again."""

    class Shaky(MemoryStore):
        """Is away when it is first asked for endpoints."""

        away = True

        async def endpoints(self, scope):
            if self.away:
                self.away = False
                raise StoreUnavailable("away")
            return await super().endpoints(scope)

    store = Shaky()
    asyncio.run(store.put_policies(Scope(), replace(compiled(), revision=0)))
    asyncio.run(store.register(Scope(), Endpoint("shop", "http://10.0.0.1"), ttl=60))
    store.away = True
    plane = planes.started(store)
    assert plane.endpoints("shop")
    assert plane.status() is Status.READY


def test_a_store_that_is_not_ours_fails_the_start(planes, tmp_path):
    """Waiting for another application's database is useless, so the start says why at once."""
    path = tmp_path / "mesh.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text)")
    plane = planes(SqliteStore(path))
    with pytest.raises(StoreError, match="another application"):
        plane.start([]).result(10)
    with pytest.raises(StoreError, match="another application"):
        plane.list("order").result(10)
    assert plane.status() is Status.UNAVAILABLE


def test_drops_are_counted_and_withdrawn(planes):
    """What the queue has no room for is counted, and is not known as if it had happened."""
    plane = planes(MemoryStore(), replace(CONFIG, queue_size=1, linger=1.0))
    plane.start([]).result(10)
    plane.publish([move()])
    plane.publish([move("paid")])
    assert plane.known(REF).state == "created"
    assert plane._shared.telemetry.drops.read()[("publisher", "queue_full")] == 1


def test_closing_sends_what_is_queued_and_ends_the_thread(tmp_path, planes):
    """After closing, everything is in the file, no thread is left, and calls are answered without harm."""
    path = tmp_path / "mesh.db"
    before = threading.active_count()
    plane = planes.started(SqliteStore(path))
    for number in range(200):
        plane.publish([move(entity_id=f"o-{number}")])
    plane.close(5)
    assert threading.active_count() == before, threading.enumerate()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM entities").fetchone() == (200,)
    plane.publish([move()])
    for future in (plane.fetch([REF]), plane.list("order"), plane.register(Endpoint("shop", "http://127.0.0.1:1"))):
        with pytest.raises(StoreUnavailable, match="closed"):
            future.result(0)
    assert plane.decide(paid()).permitted
    plane.close(1)


def test_closing_keeps_its_deadline(tmp_path, planes):
    """With the store away, closing gives up in time; what was queued is counted as dropped."""
    plane = planes(SqliteStore(tmp_path / "none" / "mesh.db"))
    plane.start([])
    plane.publish([move(), move()])
    plane.close(0.5)
    assert plane._shared.telemetry.drops.read()[("publisher", "shutdown")] == 2


def test_urls_choose_the_store(tmp_path):
    """A plane is connected by URL through the entry points, and an unknown scheme names what there is."""
    options = {"identity": Identity("shop"), "config": CONFIG, "telemetry": Telemetry()}
    assert isinstance(connect("memory:", **options)._store, MemoryStore)
    assert isinstance(connect(f"sqlite:///{tmp_path}/a.db", **options)._store, SqliteStore)
    with pytest.raises(UnknownPlugin, match=r"no store for 'etcd'. Installed: memory, "):
        connect("etcd://localhost", **options)


@FORKS
def test_a_process_that_is_forked_amid_its_parents_writing_stores_what_it_publishes(planes, tmp_path):
    """A child inherits none of the locks that its parent holds on the file, and the parent misses no change by it."""
    parent = planes.started(SqliteStore(tmp_path / "mesh.db", poll_interval=0.01))
    children, heard = [], set()
    parent.subscribe(lambda change: heard.add(change.applied.transition.entity_id if change.applied else ""))
    for number in range(20):
        for _ in range(50):
            parent.publish([move(entity_id="parent's")])
        child = os.fork()
        if child == 0:
            parent.publish([move(entity_id=f"child-{number}")])
            os._exit(0 if parent.flush(20) else 1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 20
    wait_until(lambda: heard >= {f"child-{number}" for number in range(20)})


@FORKS
@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_a_forked_worker_publishes_and_learns_by_itself(planes, tmp_path, scheme):
    """A worker forked from a started plane has its own queue and thread, knows the policies, and publishes."""
    store = MemoryStore() if scheme == "memory" else SqliteStore(tmp_path / "mesh.db", poll_interval=0.01)
    plane = planes.started(store, replace(CONFIG, linger=0.2))
    plane.apply(compiled()).result(10)
    plane.publish([move(entity_id="parent")])
    child = os.fork()
    if child == 0:
        os._exit(_work_as_child(plane, news=scheme == "sqlite"))
    assert plane.flush(10)
    if scheme == "sqlite":
        wait_until(lambda: plane.list("order").result(5).contexts[0].entity_id == "child", "the child's change")
        plane.apply(compiled(ACCESS.replace("paid'", "shipped'"), revision=1)).result(10)
    assert os.waitpid(child, 0)[1] == 0
    seen = [context.entity_id for context in plane.list("order").result(5).contexts]
    assert seen == (["child", "parent"] if scheme == "sqlite" else ["parent"])
    assert plane.known(EntityRef("order", "parent")).revision == 1


def _work_as_child(plane: LocalControlPlane, *, news: bool) -> int:
    try:
        logging.disable()
        assert plane.status() is Status.STALE
        assert not plane.decide(paid()).permitted
        plane.publish([move(entity_id="child")])
        assert plane.flush(10)
        assert plane._shared.telemetry.drops.read() == {("publisher", "forked"): 1}
        wait_until(lambda: plane.status() is Status.READY)
        assert plane.fetch([EntityRef("order", "child")]).result(5)
        if news:
            wait_until(lambda: plane.decide(paid()).permitted, "the new policy")
        plane.close(5)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        return 1
    return 0


def test_a_fetch_includes_what_is_not_stored_yet(planes, tmp_path):
    """Looking an entity up gives own unstored changes too, of entities that the store does not hold as well."""
    plane = planes.started(SqliteStore(tmp_path / "mesh.db"), replace(CONFIG, linger=5.0))
    plane.publish([move(attributes={"amount": 5})])
    found = plane.fetch([REF]).result(5)[REF]
    assert (found.state, found.tentative) == ("created", True)


def test_closing_amid_the_watchs_work_ends_everything(planes, tmp_path):
    """However closing meets a change that is just being watched, the store is closed and its threads end."""
    before = threading.active_count()
    for number in range(25):
        plane = planes.started(SqliteStore(tmp_path / f"{number}.db", poll_interval=0.001))
        plane.publish([move()])
        plane.close(5)
        assert threading.active_count() == before, threading.enumerate()


class SlowStore(MemoryStore):
    """Reads at once, and answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.may = threading.Event(), threading.Event()

    async def get(self, scope: Scope, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        found = await super().get(scope, refs)
        self.read.set()
        while not self.may.is_set():  # noqa: ASYNC110 - set by the test's thread
            await asyncio.sleep(0.005)
        return found


@pytest.mark.parametrize("erased", [False, True])
def test_what_the_watch_told_during_a_look_up_is_newer_than_its_answer(planes: Planes, erased: bool):
    """A change, and an erasure, that came between the reading and its answer are not undone by the answer."""
    store, heard = SlowStore(), threading.Event()
    plane, other = planes.started(store), planes.started(store)
    other.publish([move()])
    assert other.flush(5)
    answer = plane.fetch([REF])
    assert store.read.wait(5)
    plane.subscribe(lambda _: heard.set())
    if erased:
        other.forget(REF).result(5)
    else:
        other.publish([move("paid")])
    assert heard.wait(5)
    store.may.set()
    found = answer.result(5).get(REF)
    assert found == plane.known(REF)
    assert (found and found.state) == (None if erased else "paid")
