"""The store in one SQLite file: the suite, its processes, its faults."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.exceptions import ConfigurationError, StoreError, StoreUnavailable
from mcp_sdk.ports import AppendStatus, SigningKey
from mcp_sdk.stores._sqlite_file import SCHEMA_VERSION
from mcp_sdk.stores.sqlite import SqliteStore, connect
from mcp_sdk.testing.stores import StoreSuite, collect, move

WRITER = Path(__file__).with_name("writer.py")
SCOPE = Scope()


class TestSqliteStore(StoreSuite):
    """Handles are stores of their own on one file."""

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> SqliteStore:
        return SqliteStore(place / "mesh.db", poll_interval=0.01, clock=clock)


def run(path: Path, work: Callable[[SqliteStore], Awaitable[object]], **options: object) -> object:
    """Do ``work`` with an open store on a file."""

    async def opened() -> object:
        store = SqliteStore(path, **options)
        try:
            await store.open()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def writer(path: Path, name: str, *, count: int = 0, batch: int = 7) -> subprocess.Popen[str]:
    """Start a process that writes to a file."""
    command = [sys.executable, str(WRITER), str(path), name, str(count), str(batch)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def acknowledged(process: subprocess.Popen[str]) -> list[tuple[str, str, str, int]]:
    """Give what a writer said was stored; a line that was cut off by its end does not count."""
    with process:
        lines = process.stdout.read().splitlines(keepends=True)
    return [tuple(entry) for line in lines if line.endswith("\n") for entry in json.loads(line)]


def log_of(path: Path) -> dict[str, tuple[str, int]]:
    """Read entity and revision of every event from a file, by SQLite alone."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT event_id, entity_id, revision FROM log WHERE status = 'applied'")
        return {event_id: (entity_id, revision) for event_id, entity_id, revision in rows}


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that will happen soon."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def test_nothing_acknowledged_is_lost_when_writers_are_killed(tmp_path):
    """Writers killed with SIGKILL under load lose nothing they acknowledged, and the revisions stay without gaps."""
    path = tmp_path / "mesh.db"
    told = []
    for round_ in range(3):
        writers = [writer(path, f"w{round_}{number}") for number in range(3)]
        size = len(log_of(path)) if path.exists() and round_ else 0
        wait_until(lambda size=size: path.exists() and path.stat().st_size > 0 and count(path) > size + 300, "writes")
        for process in writers:
            process.send_signal(signal.SIGKILL)
        told += [entry for process in writers for entry in acknowledged(process)]
    stored = log_of(path)
    assert len(told) > 100
    assert {event_id: (entity_id, revision) for event_id, entity_id, _, revision in told}.items() <= stored.items()
    shared = sorted(revision for entity_id, revision in stored.values() if entity_id == "shared")
    assert shared == list(range(1, len(shared) + 1))
    run(path, lambda store: store.append([move("after")]))


def count(path: Path) -> int:
    """Count the log's entries; 0 while there is no table."""
    with closing(sqlite3.connect(path, timeout=5)) as db:
        try:
            return db.execute("SELECT count(*) FROM log").fetchone()[0]
        except sqlite3.OperationalError:
            return 0


def test_several_processes_write_one_entity_without_gaps(tmp_path):
    """Four processes that start together on no file at all agree on one schema and one sequence of revisions."""
    path = tmp_path / "mesh.db"
    writers = [writer(path, f"w{number}", count=120, batch=5) for number in range(4)]
    told = [entry for process in writers for entry in acknowledged(process)]
    assert [process.returncode for process in writers] == [0] * 4
    assert len(told) == 480
    assert {status for _, _, status, _ in told} == {"applied"}
    assert sorted(revision for _, entity_id, _, revision in told if entity_id == "shared") == list(range(1, 241))


def test_a_watcher_hears_of_all_that_other_processes_write(tmp_path):
    """A watch in this process tells every transition of two other processes, once and in their order."""

    async def watch(store: SqliteStore) -> list[str]:
        start = await store.cursor()
        writers = [await asyncio.to_thread(writer, tmp_path / "mesh.db", name, count=200) for name in ("a", "b")]
        changes = await collect(store, start, 400)
        for process in writers:
            await asyncio.to_thread(acknowledged, process)
        return [change.applied.transition.event_id for change in changes]

    heard = run(tmp_path / "mesh.db", watch, poll_interval=0.01)
    for name in ("a", "b"):
        assert [event for event in heard if event.startswith(name)] == [f"{name}-{n}" for n in range(200)]


@pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(tmp_path):
    """A child of ``os.fork`` uses the store it inherited without touching the parent's connections."""

    async def both(store: SqliteStore) -> int:
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

    assert run(tmp_path / "mesh.db", both) == 2


def test_the_file_is_private_from_the_beginning(tmp_path):
    """The file and its companions are for their owner alone whatever the umask says, for keys stand in it."""
    path = tmp_path / "mesh.db"
    before = os.umask(0)
    try:

        async def modes(store: SqliteStore) -> dict[str, int]:
            await store.put_key(SCOPE, SigningKey("a", bytes(32)))
            return {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}

        assert run(path, modes) == {"mesh.db": 0o600, "mesh.db-wal": 0o600, "mesh.db-shm": 0o600}
    finally:
        os.umask(before)


def test_commits_are_synchronous(tmp_path):
    """The connections that write say FULL, so an acknowledged change survives the loss of power."""

    async def level(store: SqliteStore) -> tuple[int, str]:
        def ask(session):
            return tuple(session.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode"))

        return await store._writer.run(ask)

    assert run(tmp_path / "mesh.db", level) == (2, "wal")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///mesh.db", Path.cwd() / "mesh.db"),
        ("sqlite:////var/lib/mesh.db", Path("/var/lib/mesh.db")),
        ("sqlite:///a/b c%20.db", Path.cwd() / "a/b c%20.db"),
    ],
)
def test_urls_name_relative_and_absolute_files(url, path):
    """Three slashes begin a relative path and four an absolute one, written as it is."""
    assert connect(url)._path == path


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///directory/"])
def test_a_url_without_a_file_is_refused(url):
    """The message says how to write one."""
    with pytest.raises(ConfigurationError, match=r"sqlite:///mesh\.db"):
        connect(url)


def test_a_missing_directory_is_named(tmp_path):
    """A file that cannot be created says which directory must be there."""
    with pytest.raises(StoreUnavailable, match="directory must exist"):
        run(tmp_path / "nowhere" / "mesh.db", SqliteStore.cursor)


def test_a_locked_file_is_unavailable(tmp_path):
    """When another process holds the write lock for too long, appending says so; reading goes on."""
    path = tmp_path / "mesh.db"

    async def locked(store: SqliteStore) -> int:
        await store.append([move()])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match=r"locked.*fuser"):
                await store.append([move("o-2")])
            found = len(await store.get(SCOPE, [EntityRef("order", "o-1")]))
            other.execute("ROLLBACK")
        await store.append([move("o-2")])
        return found

    assert run(path, locked, busy_timeout=0.05) == 1


def test_what_is_not_a_database_is_unavailable(tmp_path):
    """A file of something else is left alone, and the message says what to do."""
    path = tmp_path / "mesh.db"
    path.write_bytes(b"not a database, but somebody's notes" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        run(path, SqliteStore.cursor)
    assert path.read_bytes().startswith(b"not a database")


def test_a_damaged_file_is_unavailable(tmp_path):
    """Damage in the middle of the file is told as such."""
    path = tmp_path / "mesh.db"
    run(path, lambda store: store.append([move(f"o-{n}", attributes={"a": "x" * 200}) for n in range(400)]))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    with pytest.raises(StoreUnavailable, match="damaged"):
        run(path, lambda store: store.append([move(f"n-{n}") for n in range(100)]))


def test_another_applications_database_is_refused(tmp_path):
    """A database that is not ours is not written to."""
    path = tmp_path / "mesh.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text)")
    with pytest.raises(StoreError, match="another application") as caught:
        run(path, SqliteStore.cursor)
    assert not isinstance(caught.value, StoreUnavailable)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]


def test_a_newer_schema_is_refused(tmp_path):
    """A file written by a newer version says which versions meet and how to mend it."""
    path = tmp_path / "mesh.db"
    run(path, SqliteStore.cursor)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}.*knows {SCHEMA_VERSION}.*pip install -U"):
        run(path, SqliteStore.cursor)


def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path):
    """When the file cannot grow, appending says so and what was acknowledged is still there."""
    path = tmp_path / "mesh.db"
    run(path, lambda store: store.append([move()]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 300_000, before[1]))
    try:

        async def fill(store: SqliteStore) -> None:
            for number in range(1000):
                await store.append([move(f"o-{number}-{n}", attributes={"a": "x" * 500}) for n in range(100)])

        with pytest.raises(StoreUnavailable, match=r"disk full|disk is full"):
            run(path, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    log_of(path)
    assert run(path, lambda store: store.append([move(base_revision=1)]))[0].status is AppendStatus.APPLIED


def test_a_file_that_was_removed_is_not_written_to(tmp_path):
    """When the file is removed under an open store, appending fails; a new one is begun, and watchers resync."""
    path = tmp_path / "mesh.db"

    async def removed(store: SqliteStore) -> str:
        await store.append([move()])
        cursor = await store.cursor()
        for file in tmp_path.iterdir():
            file.unlink()
        with pytest.raises(StoreUnavailable):
            await store.append([move("o-2")])
        await store.open()
        await store.append([move("o-3")])
        (change,) = await collect(store, cursor, 1)
        return change.kind

    assert run(path, removed) == "resync"


def test_what_cannot_be_stored_is_refused_apart_from_outages(tmp_path):
    """A text that is no Unicode is refused as such, and nothing of its call is stored."""

    async def refuse(store: SqliteStore) -> int:
        with pytest.raises(StoreError, match="cannot hold this") as caught:
            await store.append([move("o-1"), move("bad\ud800")])
        assert not isinstance(caught.value, StoreUnavailable)
        return len((await store.list(SCOPE, "order")).contexts)

    assert run(tmp_path / "mesh.db", refuse) == 0


def test_forgotten_bytes_are_gone(tmp_path):
    """After ``forget`` no file of the store holds what was known of the entity; its id is in the notice for a day."""
    path = tmp_path / "mesh.db"
    secret = "Rosalind Franklin, 4 Kings College"
    clock = [time.time()]

    async def forget(store: SqliteStore) -> None:
        for number in range(50):
            known = {"who": secret, "n": number}
            await store.append([move("o-rosalind", f"s{number}", attributes=known), move(f"o-{number}")])
        assert any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())
        await store.forget(SCOPE, EntityRef("order", "o-rosalind"))
        assert not any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())
        clock[0] += 86_401
        await store.forget(SCOPE, EntityRef("order", "o-1"))
        assert not any(b"o-rosalind" in file.read_bytes() for file in tmp_path.iterdir())

    run(path, forget, clock=lambda: clock[0])


def test_a_position_older_than_the_notices_asks_for_a_resync(tmp_path):
    """Notices are kept for a day; who comes back later is told to read again."""
    clock = [time.time()]

    async def late(store: SqliteStore) -> list[str]:
        cursor = await store.cursor()
        await store.put_key(SCOPE, SigningKey("a", bytes(16)))
        clock[0] += 90_000
        await store.open()
        return [change.kind for change in await collect(store, cursor, 1)]

    assert run(tmp_path / "mesh.db", late, clock=lambda: clock[0]) == ["resync"]


def test_retention_goes_by_the_stores_clock(tmp_path):
    """What changed before a moment of the store's clock is erased, however many entities that are."""
    clock = [time.time() - 100]

    async def retain(store: SqliteStore) -> tuple[int, int]:
        await store.append([move(f"o-{number}") for number in range(450)])
        clock[0] += 100
        await store.append([move("o-7", "paid")])
        erased = await store.retain(SCOPE, "order", datetime.now(UTC) - timedelta(seconds=50))
        return erased, len((await store.list(SCOPE, "order")).contexts)

    assert run(tmp_path / "mesh.db", retain, clock=lambda: clock[0]) == (449, 1)
