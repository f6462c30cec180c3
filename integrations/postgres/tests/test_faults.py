"""What goes wrong with servers, networks, writers and settings."""

# ruff: noqa: RUF001 - letters that look alike are part of what is tested

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from mcp_sdk_postgres import PostgresStore, connect
from mcp_sdk_postgres.rows import decode, encode
from postgres_servers import PASSWORD, PostgresServer
from schemas import Schemas
from servers import free_port

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.exceptions import ConfigurationError, StoreError, StoreUnavailable
from mcp_sdk.ports import AppendStatus
from mcp_sdk.testing.stores import collect, move

WRITER = Path(__file__).with_name("writer.py")
SCOPE = Scope()
pytestmark = pytest.mark.services


def run(store: PostgresStore, work: Callable[[PostgresStore], Awaitable[object]]) -> object:
    """Do ``work`` with an open store."""

    async def opened() -> object:
        try:
            await store.open()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def writer(url: str, name: str, *, count: int = 0, batch: int = 7) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), url, name, str(count), str(batch)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def acknowledged(process: subprocess.Popen[str]) -> list[tuple[str, str, str, int]]:
    """Give what a writer said was stored; a line that was cut off by its end does not count."""
    with process:
        lines = process.stdout.read().splitlines(keepends=True)
    return [tuple(entry) for line in lines if line.endswith("\n") for entry in json.loads(line)]


def test_nothing_acknowledged_is_lost_when_writers_are_killed(schemas: Schemas) -> None:
    """Writers killed with SIGKILL under load lose nothing acknowledged; revisions and the log have no gap."""
    run(connect(schemas.url()), PostgresStore.cursor)
    told = []
    for round_ in range(2):
        before = schemas.execute("SELECT seq FROM head")[0][0]
        writers = [writer(schemas.url(), f"w{round_}{number}") for number in range(3)]
        deadline = time.monotonic() + 60
        while schemas.execute("SELECT seq FROM head")[0][0] < before + 300:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for process in writers:
            process.send_signal(signal.SIGKILL)
        told += [entry for process in writers for entry in acknowledged(process)]
    rows = schemas.execute("SELECT event_id, entity_id, revision FROM log WHERE status = 'applied'")
    stored = {event_id: (entity_id, revision) for event_id, entity_id, revision in rows}
    assert len(told) > 100
    assert {event_id: (entity_id, revision) for event_id, entity_id, _, revision in told}.items() <= stored.items()
    shared = sorted(revision for entity_id, revision in stored.values() if entity_id == "shared")
    assert shared == list(range(1, len(shared) + 1))
    assert schemas.execute("SELECT count(*) = max(seq) FROM log") == [(True,)]
    run(connect(schemas.url()), lambda store: store.append([move("after")]))


def test_processes_that_start_together_agree(schemas: Schemas) -> None:
    """Processes that start on no schema at all make one, and their writes of one entity have no gap."""
    writers = [writer(schemas.url(), f"w{number}", count=60, batch=5) for number in range(3)]
    told = [entry for process in writers for entry in acknowledged(process)]
    assert [process.returncode for process in writers] == [0] * 3
    assert {status for _, _, status, _ in told} == {"applied"}
    assert sorted(revision for _, entity_id, _, revision in told if entity_id == "shared") == list(range(1, 91))


@pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(schemas: Schemas) -> None:
    """A child of ``os.fork`` uses the store it inherited without touching the parent's connections."""

    async def both(store: PostgresStore) -> int:
        await store.append([move("parent")])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.set_event_loop(None)
                asyncio.events._set_running_loop(None)
                asyncio.run(store.append([move("child")]))
                code = 0
            finally:
                os._exit(code)
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        await store.append([move("parent")])
        return len((await store.list(SCOPE, "order")).contexts)

    assert run(connect(schemas.url()), both) == 2


def test_a_store_moves_to_another_loop(schemas: Schemas) -> None:
    """A store that was used in a loop that is over makes connections in the next."""
    store = connect(schemas.url())

    async def begin() -> None:
        await store.open()
        await store.append([move()])

    asyncio.run(begin())
    assert len(asyncio.run(store.get(SCOPE, [EntityRef("order", "o-1")]))) == 1


@pytest.fixture
def private() -> Iterator[PostgresServer]:
    """Give a server of the test's own."""
    with PostgresServer() as server:
        yield server


def test_a_server_that_stops_is_unavailable_and_comes_back(private: PostgresServer) -> None:
    """While the server is down calls fail in bounded time; a watcher and the calls go on when it is back."""

    async def outage(store: PostgresStore) -> list[str]:
        await store.append([move("before")])
        cursor = await store.cursor()
        await asyncio.to_thread(private.stop)
        async with asyncio.timeout(30):
            with pytest.raises(StoreUnavailable) as caught:
                await store.append([move("during")])
                await store.append([move("during")])
            with pytest.raises(StoreUnavailable, match="Start the server"):
                await store.get(SCOPE, [EntityRef("order", "o-1")])
        assert PASSWORD not in str(caught.value)
        await asyncio.to_thread(private.start)
        await store.append([move("after")])
        return [change.applied.transition.entity_id for change in await collect(store, cursor, 1)]

    assert run(connect(private.url()), outage) == ["after"]


def test_a_server_that_hangs_is_given_up(private: PostgresServer) -> None:
    """When it takes no step any more all calls end in the time of one, however many wait, and later ones work again."""

    async def hang(store: PostgresStore) -> AppendStatus:
        await store.append([move()])
        await asyncio.to_thread(private.halt)
        try:
            calls = [store.append([move(f"o-{call}-{number}") for number in range(500)]) for call in range(40)]
            async with asyncio.timeout(30):
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await asyncio.to_thread(private.resume)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        return (await store.append([move("o-3")]))[0].status

    assert run(connect(private.url(timeout=1)), hang) is AppendStatus.APPLIED


def test_what_cannot_be_reached_is_told_without_the_password(private: PostgresServer) -> None:
    """Wrong passwords, databases, ports and hosts say what to mend, and the password is in no message."""
    url = private.url()
    wrong = {
        url.replace(PASSWORD, "s3cr3t-other"): "Check user and password",
        url.replace("/postgres", "/nowhere").replace("//nowhere", "//postgres"): "createdb nowhere",
        url.replace(str(private.port), str(free_port())): "Start the server",
        url.replace("127.0.0.1", "nowhere.invalid"): "Nobody knows that host",
    }
    for address, advice in wrong.items():
        with pytest.raises(StoreUnavailable, match=advice) as caught:
            run(connect(address), PostgresStore.cursor)
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("options", ["schema=a-b", "schema=", "timeout=soon", "pool_size=0", "no_such_option=1"])
def test_settings_that_cannot_be_are_refused(options: str) -> None:
    """A URL with a wrong setting is refused at once, and not shown."""
    with pytest.raises(ConfigurationError) as caught:
        connect(f"postgresql://u:s3cr3t@127.0.0.1/test?{options}")
    assert "s3cr3t" not in str(caught.value)


def test_a_newer_schema_is_refused(schemas: Schemas) -> None:
    """A schema of a newer package says which versions meet and how to mend it."""
    run(connect(schemas.url()), PostgresStore.cursor)
    schemas.execute("INSERT INTO _yoyo_migration SELECT 'x', '9999_later', applied_at_utc FROM _yoyo_migration")
    with pytest.raises(StoreError, match=r"9999_later.*knows 0001_tables.*pip install -U") as caught:
        run(connect(schemas.url()), PostgresStore.cursor)
    assert not isinstance(caught.value, StoreUnavailable)


def test_what_cannot_be_stored_is_refused_and_refuses_no_other(schemas: Schemas) -> None:
    """Half a surrogate pair, or an id too long for an index, is refused; calls that go with it are stored."""

    async def refuse(store: PostgresStore) -> list[str]:
        bad = [move("bad\ud800"), move(os.urandom(4000).hex())]
        calls = [store.append([move("o-1")]), *(store.append([move("x"), sent]) for sent in bad)]
        outcomes = await asyncio.gather(*calls, store.append([move("o-2")]), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[1:3]] == [StoreError, StoreError]
        return [context.entity_id for context in (await store.list(SCOPE, "order")).contexts]

    assert run(connect(schemas.url()), refuse) == ["o-1", "o-2"]


def test_the_log_goes_on_over_partitions_and_old_ones_are_dropped(schemas: Schemas) -> None:
    """Partitions are made ahead, also for one call larger than some; what retention empties is dropped."""

    async def fill() -> tuple[int, list[int]]:
        store = connect(schemas.url())
        store._partition = 10
        await store.open()
        await store.append([move(f"o-{number}") for number in range(35)])
        schemas.execute("UPDATE partitions SET created_at = created_at - interval '2 days'")
        await store.append([move("late") for _ in range(20)])
        (moment,) = schemas.execute("SELECT clock_timestamp() + interval '1 hour'")[0]
        cursor = await store.cursor()
        assert await store.retain(SCOPE, "order", moment) == 36
        heard = await collect(store, cursor, 36)
        await store.append([move("new")])
        await store.close()
        left = schemas.execute("SELECT first FROM partitions ORDER BY first")
        return len(heard), [first for (first,) in left]

    heard, left = asyncio.run(fill())
    assert heard == 36
    assert left[0] > 10
    assert left == list(range(left[0], left[-1] + 1, 10))


def test_lists_are_read_from_an_index(schemas: Schemas) -> None:
    """A prefix, with a state and without, is a range of an index: nothing is sorted, nothing is read in vain."""

    async def explain(store: PostgresStore) -> None:
        await store.append([move(f"o-{number}") for number in range(50)])

    run(connect(schemas.url()), explain)
    schemas.execute("SET enable_seqscan = off")
    for condition, index in (("", "entities_pkey"), ("AND state = 'created' ", "entities_state")):
        plan = schemas.execute(
            "EXPLAIN SELECT * FROM entities WHERE scope = 1 AND model = 'order' "
            f"{condition}AND entity_id >= 'o-1' AND entity_id < 'o-2' ORDER BY entity_id LIMIT 10"
        )
        text = "\n".join(line for (line,) in plan)
        assert f"Index Scan using {index}" in text
        assert "Sort" not in text


def test_texts_keep_their_order_and_their_prefixes() -> None:
    """The writing of NUL loses nothing, and orders as code points do."""
    texts = ["", "\0", "\0\0", "\0\1", "\1", "\1\0", "\1\2", "\1\3", "\2", "a", "a\0", "a\0b", "a\1", "a\2", "é", "𝒪"]
    assert [decode(encode(text)) for text in texts] == texts
    assert sorted(texts) == sorted(texts, key=encode)
    for text in texts:
        assert [t.startswith(text) for t in texts] == [encode(t).startswith(encode(text)) for t in texts]


def test_forgotten_is_erased(schemas: Schemas) -> None:
    """After ``forget`` no table holds what was known; the id stands in the notice for a day of the server's clock."""

    async def forget(store: PostgresStore) -> None:
        await store.append([move("o-rosalind", attributes={"who": "Rosalind Franklin"})])
        await store.forget(SCOPE, EntityRef("order", "o-rosalind"))
        assert not any("Rosalind" in str(row) for table in ("log", "entities") for row in rows(table))
        schemas.execute("UPDATE log SET at = at - interval '25 hours'")
        await store.forget(SCOPE, EntityRef("order", "o-1"))
        assert not any("rosalind" in str(row) for table in ("log", "entities", "erased") for row in rows(table))

    def rows(table: str) -> list[tuple[object, ...]]:
        return schemas.execute(f"SELECT * FROM {table}")

    run(connect(schemas.url()), forget)
