"""The store in Redis when servers stop, die, fill up, refuse, or lose what they had."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from signal import SIGKILL, SIGSTOP
from typing import Any

import pytest
from mcp_sdk_redis import RedisStore, connect
from redis_servers import RedisServer, until

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import StoreDenied, StoreError, StoreUnavailable
from mcp_sdk.ports import AppendStatus
from mcp_sdk.testing.stores import collect, move

pytestmark = pytest.mark.services
WRITER = Path(__file__).with_name("writer.py")
SCOPE = Scope()
ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")
Serve = Callable[..., RedisServer]


def run(url: str, work: Callable[[RedisStore], Awaitable[Any]]) -> Any:
    """Do ``work`` with an open store."""

    async def opened() -> Any:
        store = connect(url)
        try:
            await store.open()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def writer(url: str, name: str, *, count: int = 0, batch: int = 7) -> subprocess.Popen[str]:
    """Start a process that writes."""
    command = [sys.executable, str(WRITER), url, name, str(count), str(batch)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def acknowledged(process: subprocess.Popen[str]) -> list[tuple[str, str, str, int]]:
    """Give what a writer said was stored; a line that was cut off by its end does not count."""
    with process:
        lines = process.stdout.read().splitlines(keepends=True)
    return [tuple(entry) for line in lines if line.endswith("\n") for entry in json.loads(line)]


def log_of(server: RedisServer) -> dict[str, tuple[str, int]]:
    """Read entity and revision of every event that was applied, by Redis alone."""
    with server.client() as client:
        lines = [json.loads(line) for line in client.hvals("{mcp_sdk}:log")]
    return {row[2]: (row[1], int(context[1])) for _, status, context, row in lines if status == "a"}


def held(told: list[tuple[str, str, str, int]], server: RedisServer) -> None:
    """Assert that all that was acknowledged is there, and that the shared entity's revisions have no gap."""
    stored = log_of(server)
    assert {event_id: (entity_id, revision) for event_id, entity_id, _, revision in told}.items() <= stored.items()
    shared = sorted(revision for entity_id, revision in stored.values() if entity_id == "shared")
    assert shared == list(range(1, len(shared) + 1))


def size(server: RedisServer) -> int:
    """Count the changes there are."""
    with server.client() as client:
        return client.xlen("{mcp_sdk}:changes")


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(serve: Serve):
    """With ``appendfsync always`` a server killed with SIGKILL under load comes back with all that it acknowledged."""
    server = serve(*ALWAYS)
    writers = [writer(server.url, f"w{number}") for number in range(3)]
    for _ in range(2):
        before = size(server)
        until(lambda before=before: size(server) > before + 300, "there are writes")
        server.stop(SIGKILL)
        server.start()
    before = size(server)
    until(lambda: size(server) > before + 100, "writers go on")
    for process in writers:
        process.kill()
    told = [entry for process in writers for entry in acknowledged(process)]
    assert len(told) > 500
    held(told, server)


def test_nothing_acknowledged_is_lost_when_writers_are_killed(serve: Serve):
    """Writers killed with SIGKILL under load leave whole batches and no gap in the revisions."""
    server = serve()
    told = []
    for round_ in range(3):
        writers = [writer(server.url, f"w{round_}{number}") for number in range(3)]
        before = size(server)
        until(lambda before=before: size(server) > before + 300, "there are writes")
        for process in writers:
            process.kill()
        told += [entry for process in writers for entry in acknowledged(process)]
    held(told, server)
    assert size(server) % 7 == 0


def test_several_processes_write_one_entity_without_gaps(serve: Serve):
    """Four processes that start together on an empty server all make progress, in one sequence of revisions."""
    server = serve()
    writers = [writer(server.url, f"w{number}", count=120, batch=5) for number in range(4)]
    told = [entry for process in writers for entry in acknowledged(process)]
    assert [process.returncode for process in writers] == [0] * 4
    assert {status for _, _, status, _ in told} == {"applied"}
    assert sorted(revision for _, entity_id, _, revision in told if entity_id == "shared") == list(range(1, 241))


def test_a_server_that_does_not_answer_is_unavailable_in_time_and_then_works_again(serve: Serve):
    """While a server hangs or is gone every call says so within the timeout; the same handle goes on afterwards."""
    server = serve(*ALWAYS)

    async def outage(store: RedisStore) -> int:
        await store.append([move()])
        server.send(SIGSTOP)
        began = time.monotonic()
        for call in (store.append([move()]), store.get(SCOPE, [move().ref]), store.cursor()):
            with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:\d+/0 cannot be reached"):
                await call
        assert time.monotonic() - began < 30  # three timeouts of half a second
        server.stop()
        with pytest.raises(StoreUnavailable, match="Does it run"):
            await store.append([move()])
        server.start()
        await store.append([move()])
        return len(await store.history(SCOPE, move().ref))

    # what hung in the buffers of the stopped server was never acknowledged, and may be done when it goes on
    assert run(f"{server.url}?timeout=0.5", outage) in {2, 3}


def test_a_watcher_waits_out_a_restart(serve: Serve):
    """A watch that broke off with its server goes on from its cursor after the server is back, with nothing missed."""
    server = serve(*ALWAYS)

    async def restart(store: RedisStore) -> list[str]:
        cursor = await store.cursor()
        watching = asyncio.create_task(collect(store, cursor, 2))
        await store.append([move("o-1")])
        server.stop()
        with pytest.raises(StoreUnavailable):
            await watching
        server.start()
        await store.append([move("o-2")])
        return [change.applied.transition.entity_id for change in await collect(store, cursor, 2)]

    assert run(server.url, restart) == ["o-1", "o-2"]


def test_a_full_memory_is_unavailable_and_nothing_is_half_written(serve: Serve):
    """At maxmemory appending says what to do and changes nothing; reading and forgetting go on, and make room."""
    server = serve("--maxmemory", "8mb", "--maxmemory-policy", "noeviction")

    async def fill(store: RedisStore) -> None:
        number = 0
        with pytest.raises(StoreUnavailable, match=r"maxmemory.*log_age and log_size"):
            for number in range(1000):
                await store.append([move(f"o-{number}-{n}", attributes={"a": "x" * 500}) for n in range(50)])
        assert 0 < number < 1000
        last = await store.list(SCOPE, "order", id_prefix=f"o-{number}-")
        assert last.contexts == ()
        for old in range(number):
            for n in range(50):
                assert (await store.forget(SCOPE, move(f"o-{old}-{n}").ref)).contexts == 1
        assert (await store.append([move()]))[0].status is AppendStatus.APPLIED

    run(server.url, fill)


def test_a_wrong_password_is_refused_and_never_shown(serve: Serve):
    """Authentication that fails is no outage; the message names the place to mend, and no password."""
    server = serve("--requirepass", "right-secret")
    place = f"127.0.0.1:{server.port}"
    for login in (":wrong-secret@", "somebody:wrong-secret@", ""):
        with pytest.raises(StoreError, match="password") as caught:
            run(f"redis://{login}{place}", RedisStore.cursor)
        assert not isinstance(caught.value, StoreUnavailable)
        shown = "".join(map(str, (caught.value, caught.value.__cause__, connect(f"redis://{login}{place}")._options)))
        assert "secret" not in shown
    run(f"redis://:right-secret@{place}", RedisStore.cursor)


def test_a_password_that_the_server_has_not_is_refused(serve: Serve):
    """A password for a server without one is told as that."""
    with pytest.raises(StoreError, match="has no password set"):
        run(f"redis://:secret@127.0.0.1:{serve().port}", RedisStore.cursor)


def test_a_user_that_may_too_little_is_refused(serve: Serve):
    """A user whose ACL lacks what the store needs hears of it."""
    server = serve()
    with server.client() as client:
        client.acl_setuser("poor", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@read"])
    with pytest.raises(StoreError, match="ACL"):
        run(f"redis://poor:pw@127.0.0.1:{server.port}", RedisStore.cursor)


def test_transitions_wait_for_a_password_that_changed(serve: Serve):
    """A password that an operator changes under a running store loses nothing: it says nothing of the transitions."""
    server = serve()
    with server.client() as client:
        rights: dict[str, Any] = {"enabled": True, "keys": ["*"], "channels": ["*"], "commands": ["+@all"]}
        client.acl_setuser("app", passwords=["+right"], **rights)

        async def rotate(store: RedisStore) -> None:
            client.acl_setuser("app", passwords=["+other", "-right"], **rights)
            client.client_kill_filter(user="app")
            for _ in range(2):  # the first may find its connection cut
                with pytest.raises(StoreUnavailable) as caught:
                    await store.append([move()])
            assert caught.type is StoreDenied
            assert "password" in str(caught.value)
            client.acl_setuser("app", passwords=["+right"], **rights)
            assert (await store.append([move()]))[0].status is AppendStatus.APPLIED

        run(f"redis://app:right@127.0.0.1:{server.port}", rotate)


def test_transitions_wait_for_an_acl_that_was_narrowed(serve: Serve):
    """What a user may no longer write waits until the ACL is mended."""
    server = serve()
    with server.client() as client:
        client.acl_setuser("poor", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"], commands=["+@all"])

        async def narrow(store: RedisStore) -> None:
            client.acl_setuser("poor", commands=["-evalsha", "-eval"])
            with pytest.raises(StoreDenied, match="ACL"):
                await store.append([move()])
            client.acl_setuser("poor", commands=["+evalsha", "+eval"])
            assert (await store.append([move()]))[0].status is AppendStatus.APPLIED

        run(f"redis://poor:pw@127.0.0.1:{server.port}", narrow)


def test_keys_of_another_application_are_refused(serve: Serve):
    """Data of another type under the store's keys are left alone."""
    server = serve()
    with server.client() as client:
        client.set("{mcp_sdk}:meta", "somebody's")
        with pytest.raises(StoreError, match=r"holds other data.*prefix=NAME"):
            run(server.url, RedisStore.cursor)
        assert client.get("{mcp_sdk}:meta") == b"somebody's"


def test_a_replica_is_unavailable_for_writes(serve: Serve):
    """A replica says that it takes no writes."""
    first, second = serve(name="first"), serve(name="second")
    with second.client() as client:
        client.replicaof("127.0.0.1", first.port)
        until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        with pytest.raises(StoreUnavailable, match="is a replica"):
            run(second.url, lambda store: store.append([move()]))


def test_a_server_that_loads_its_data_is_unavailable(serve: Serve):
    """A server that reads its data after a start says that it will answer."""
    slow = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    server = serve("--appendonly", "yes", "--aof-use-rdb-preamble", "yes", *slow)
    run(server.url, lambda store: store.append([move()]))
    with server.client() as client:
        client.mset({f"other:{number}": "x" * 100 for number in range(5000)})
        client.bgrewriteaof()
        until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the file is written")
    server.stop()
    server.start()
    with pytest.raises(StoreUnavailable, match="reading its data set"):
        run(server.url, RedisStore.cursor)


def test_a_server_of_a_cluster_wants_the_other_scheme(three_servers: list[RedisServer]):
    """A plain URL of a server of a cluster that holds other slots is told the scheme of clusters."""
    with pytest.raises(StoreError, match=r"redis\+cluster://"):
        for server in three_servers:
            run(f"{server.url}?prefix=plain", RedisStore.cursor)


def test_an_empty_server_after_a_failover_asks_for_a_resync(serve: Serve):
    """Where a failover or a flush left nothing, a watcher hears ``resync`` and the store begins anew."""
    server = serve()

    async def flushed(store: RedisStore) -> list[str]:
        await store.append([move()])
        watching = asyncio.create_task(collect(store, await store.cursor(), 1))
        await asyncio.sleep(0.1)
        with server.client() as client:
            client.flushall()
        assert (await store.append([move()]))[0].revision == 1
        return [change.kind for change in await watching]

    assert run(f"{server.url}?timeout=1", flushed) == ["resync"]


def test_a_failover_that_lost_changes_asks_for_a_resync(serve: Serve):
    """A watcher that heard of changes which the new primary never got reads again, though others came since."""
    first, second = serve(name="first"), serve(name="second")

    async def promoted() -> list[str]:
        store, other = connect(first.url), connect(second.url)
        await store.open()
        await store.append([move()])
        with second.client() as client:
            client.replicaof("127.0.0.1", first.port)
            until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
            client.replicaof("NO", "ONE")
        kept = await store.cursor()
        await store.append([move("lost")])
        lost = await store.cursor()
        await store.close()
        await other.open()
        await other.append([move("o-2")])
        kinds = [(await collect(other, cursor, 1))[0].kind for cursor in (kept, lost)]
        await other.close()
        return kinds

    assert asyncio.run(promoted()) == ["transition", "resync"]


def test_a_write_waits_for_replicas_where_that_is_asked(serve: Serve):
    """With ``replicas=1`` an append counts when a replica has it, and is unavailable where none does."""
    first, second = serve(name="first"), serve(name="second")
    url = f"{first.url}?replicas=1&timeout=2"
    with second.client() as client:
        client.replicaof("127.0.0.1", first.port)
        until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        assert run(url, lambda store: store.append([move("o-1")]))[0].revision == 1
        client.replicaof("NO", "ONE")
    sent = move("o-2")
    with pytest.raises(StoreUnavailable, match="0 replicas have it and not 1"):
        run(url, lambda store: store.append([sent]))
    assert run(first.url, lambda store: store.append([sent]))[0].status is AppendStatus.DUPLICATE
