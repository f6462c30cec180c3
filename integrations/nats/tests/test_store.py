"""The store on NATS JetStream: its faults, its processes, its limits; on private servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import pytest
from mcp_sdk_nats import NatsStore, checkpoints, connect
from mcp_sdk_nats.address import parse
from nats_servers import Nats

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk.ports import AppendStatus, Record
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.testing.stores import collect, move

pytestmark = pytest.mark.services
WRITER = Path(__file__).with_name("writer.py")
SCOPE = Scope()
PATIENCE = 30.0


def run(server: Nats | str, work: Callable[[NatsStore], Awaitable[Any]], *, kept: int = 20_000) -> Any:
    """Do ``work`` with an open store on a server's mesh."""

    async def opened() -> object:
        store = NatsStore(parse(server if isinstance(server, str) else f"{server.url}/mesh"), kept=kept)
        try:
            await store.open()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def writer(server: Nats, name: str, *, count: int = 0, batch: int = 7) -> subprocess.Popen[str]:
    """Start a process that writes to a server's mesh."""
    command = [sys.executable, str(WRITER), f"{server.url}/mesh", name, str(count), str(batch)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def acknowledged(process: subprocess.Popen[str]) -> list[tuple[str, str, str, int]]:
    """Give what a writer said was stored; a line that was cut off by its end does not count."""
    with process:
        lines = process.stdout.read().splitlines(keepends=True)
    return [tuple(entry) for line in lines if line.endswith("\n") for entry in json.loads(line)]


async def insist(call: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again until the store is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def everything(store: NatsStore) -> dict[str, tuple[str, int]]:
    """Give entity and revision of every event that was applied, as a watcher from the beginning hears of them."""
    start = (await store.cursor()).partition(":")[0] + ":0"
    await store.append([move("last", event_id="last")])
    found: dict[str, tuple[str, int]] = {}
    async for change in store.watch(start):
        if change.applied is not None and change.applied.transition.event_id == "last":
            break
        if change.applied is not None and change.applied.status is AppendStatus.APPLIED:
            context = change.applied.context
            found[change.applied.transition.event_id] = (context.entity_id, context.revision)
    return found


async def grown(server: Nats, count: int) -> None:
    """Wait until a mesh's log holds so many messages."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                client = await nats.connect(server.url, allow_reconnect=False)
                info = json.loads((await client.request("$JS.API.STREAM.INFO.mesh", b"")).data)
                await client.close()
                if info.get("state", {}).get("last_seq", 0) >= count:
                    return
            except (OSError, nats.errors.Error):
                pass
            await asyncio.sleep(0.05)


def whole(told: list[tuple[str, str, str, int]], stored: dict[str, tuple[str, int]]) -> None:
    """Check that everything that was told is stored, and that the shared entity's revisions have no gap."""
    assert {event: (entity, revision) for event, entity, _, revision in told}.items() <= stored.items()
    shared = sorted(revision for entity, revision in stored.values() if entity == "shared")
    assert shared == list(range(1, len(shared) + 1))


def test_nothing_acknowledged_is_lost_when_writers_are_killed(server):
    """Writers killed with SIGKILL under load lose nothing they acknowledged, and the revisions stay without gaps."""
    told = []
    for number in range(2):
        writers = [writer(server, f"w{number}{each}") for each in range(3)]
        asyncio.run(grown(server, 60 * (number + 1)))
        for process in writers:
            process.send_signal(signal.SIGKILL)
        told += [entry for process in writers for entry in acknowledged(process)]
    assert len(told) > 100
    whole(told, run(server, everything))
    run(server, lambda store: store.append([move("after")]))


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(server):
    """A server killed with SIGKILL under load and started again holds all that it acknowledged; writers go on."""
    writers = [writer(server, f"w{each}") for each in range(2)]
    for number in range(1, 4):
        asyncio.run(grown(server, 60 * number))
        server.end(signal.SIGKILL)
        server.start()
    asyncio.run(grown(server, 240))
    for process in writers:
        process.send_signal(signal.SIGKILL)
    told = [entry for process in writers for entry in acknowledged(process)]
    assert len(told) > 200
    whole(told, run(server, everything))


def test_several_processes_write_one_entity_without_gaps(server):
    """Four processes that start together on an empty server agree on one log and one sequence of revisions."""
    writers = [writer(server, f"w{number}", count=120, batch=5) for number in range(4)]
    told = [entry for process in writers for entry in acknowledged(process)]
    assert [process.returncode for process in writers] == [0] * 4
    assert len(told) == 480
    assert {status for _, _, status, _ in told} == {"applied"}
    assert sorted(revision for _, entity_id, _, revision in told if entity_id == "shared") == list(range(1, 241))


def test_a_server_that_is_away_is_unavailable_and_comes_back(server):
    """While the server is stopped every call says so in bounded time; started again, all is there and work goes on."""

    async def away(store: NatsStore) -> tuple[int, int]:
        await store.append([move()])
        cursor = await store.cursor()
        await asyncio.to_thread(server.end)
        for call in (
            lambda: store.append([move()]),
            lambda: store.get(SCOPE, [EntityRef("order", "o-1")]),
            lambda: store.put_record(SCOPE, Record("token", "t")),
            lambda: collect(store, cursor, 1),
        ):
            with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
                async with asyncio.timeout(PATIENCE):
                    await call()
        await asyncio.to_thread(server.start)
        await insist(lambda: store.append([move()]))
        (change,) = await insist(lambda: collect(store, cursor, 1))
        return change.applied.context.revision, len(await store.history(SCOPE, EntityRef("order", "o-1")))

    assert run(server, away) == (2, 2)


def test_a_server_that_does_not_answer_is_unavailable(server):
    """A server that hangs costs a call a bounded time, and nothing is lost or doubled when it goes on."""
    sent = move()

    async def hang(store: NatsStore) -> tuple[AppendStatus, int]:
        await store.append([move("o-2")])
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, server.process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
                async with asyncio.timeout(PATIENCE):
                    await store.append([sent])
        finally:
            server.process.send_signal(signal.SIGCONT)
        (result,) = await insist(lambda: store.append([sent]))
        return result.revision, len(await store.history(SCOPE, EntityRef("order", "o-1")))

    assert run(server, hang) == (1, 1)


def test_a_server_that_was_emptied_asks_watchers_to_resync(server):
    """After the server lost its store a handle begins a new log, even where sequences agree, and watchers resync."""

    async def emptied(store: NatsStore) -> tuple[str, int]:
        await store.append([move("old")])
        cursor = await store.cursor()
        await asyncio.to_thread(server.empty)
        await asyncio.to_thread(server.start)
        other = connect(f"{server.url}/mesh")
        await other.open()
        await other.append([move("new")])
        await other.close()
        await insist(lambda: store.append([move("newer")]))
        (change,) = await insist(lambda: collect(store, cursor, 1))
        assert [context.entity_id for context in (await store.list(SCOPE, "order")).contexts] == ["new", "newer"]
        return change.kind

    assert run(server, emptied) == "resync"


def test_streams_that_were_deleted_under_an_open_handle_are_never_written_to(server):
    """A log that was deleted and made anew by another is not appended to on the strength of an old copy."""

    async def deleted(store: NatsStore) -> list[str]:
        await store.append([move("old")])
        client = await nats.connect(server.url)
        for stream in ("mesh", "mesh_state"):
            await client.jetstream().delete_stream(stream)
        await client.close()
        other = connect(f"{server.url}/mesh")
        await other.open()
        await other.append([move("old", "paid")])
        await insist(lambda: store.append([move("old", "lost", base_revision=1), move("o-2")]))
        contexts = (await other.list(SCOPE, "order")).contexts
        await other.close()
        return [(context.entity_id, context.state, context.revision) for context in contexts]

    assert run(server, deleted) == [("o-2", "created", 1), ("old", "lost", 2)]


def test_a_server_without_jetstream_says_how_to_enable_it(make_server):
    """The message names the switch."""
    with pytest.raises(StoreUnavailable, match=r"JetStream is not enabled.*nats-server -js"):
        run(make_server(enabled=False), NatsStore.cursor)


def test_no_server_says_how_to_start_one():
    """The message names the address, and the command."""
    with pytest.raises(StoreUnavailable, match=r"no NATS server answers at 127\.0\.0\.1:9.*nats-server -js"):
        run("nats://127.0.0.1:9/mesh", NatsStore.cursor)


@pytest.mark.parametrize("login", ["ann:wrong-secret", "wrong-secret", "ann:"])
def test_a_wrong_password_is_told_and_never_shown(make_server, login):
    """The message says that the login is wrong, and holds neither the password sent nor the right one."""
    server = make_server(more='authorization { user: ann, password: "right-secret" }')
    address = server.url.replace("nats://", f"nats://{login}@")
    said = ""
    for _ in range(20):  # a server that closes at once may be heard of by its reset before its reason is read
        with pytest.raises(StoreUnavailable) as caught:
            run(f"{address}/mesh", NatsStore.cursor)
        said = str(caught.value)
        assert "secret" not in said + repr(parse(f"{address}/mesh"))
        if "no NATS server answers" not in said:
            break
    assert "does not accept this user, password or token" in said
    good = server.url.replace("nats://", "nats://ann:right-secret@")
    assert run(f"{good}/mesh", lambda store: store.append([move()]))[0].revision == 1


def test_a_full_server_is_unavailable_and_loses_nothing(make_server):
    """When the store's limit is reached appending says so, and what was acknowledged is still there."""
    server = make_server(jetstream="max_file_store: 2MB")

    async def fill(store: NatsStore) -> int:
        await store.append([move()])
        with pytest.raises(StoreUnavailable, match=r"no room for more.*max_file_store"):
            for number in range(100):
                await store.append([move(f"o-{number}-{n}", attributes={"a": "x" * 500}) for n in range(100)])
        return (await store.get(SCOPE, [EntityRef("order", "o-1")]))[EntityRef("order", "o-1")].revision

    assert run(server, fill) == 1
    assert run(server, lambda store: store.get(SCOPE, [EntityRef("order", "o-1")]))


def test_a_call_larger_than_a_message_is_split_between_batches(make_server):
    """A call that the server would refuse whole becomes several messages, and no batch is torn."""
    server = make_server(more="max_payload: 64KB")

    async def large(store: NatsStore) -> int:
        moves = [
            move(f"o-{n}", attributes={"a": "x" * 400}, batch_id=str(n // 10) if n % 20 < 10 else "")
            for n in range(1000)
        ]
        results = await store.append(moves)
        assert [result.revision for result in results] == [1] * 1000
        messages = await store._replica.messages(0)
        assert len(messages) > 8
        batches = [
            {e.applied.transition.batch_id for e in m.entries} - {""} for _, m in messages if hasattr(m, "entries")
        ]
        assert sum(map(len, batches)) == len(set().union(*batches))
        return len(await everything(store))

    assert run(server, large) == 1000


def test_a_batch_larger_than_a_message_is_refused_apart_from_outages(make_server):
    """The message says how large it was and what to change; nothing of it is stored; others are not harmed."""
    server = make_server(more="max_payload: 64KB")

    async def refuse(store: NatsStore) -> int:
        good = asyncio.create_task(store.append([move("good")]))
        moves = [move(f"o-{n}", attributes={"a": "x" * 400}, batch_id="one") for n in range(300)]
        with pytest.raises(StoreError, match=r"batch 'one' makes a message of .* max_payload") as caught:
            await store.append(moves)
        assert not isinstance(caught.value, StoreUnavailable)
        await good
        return len((await store.list(SCOPE, "order")).contexts)

    assert run(server, refuse) == 1


def test_policies_larger_than_a_message_come_back(make_server):
    """A policy set of any size is stored in pieces, and its history too."""
    server = make_server(more="max_payload: 64KB")
    rules = [{"when": f"order.amount > {n * 7919 % 100_003}", "route": f"{n:x}" * 5} for n in range(20_000)]

    async def put(store: NatsStore) -> PolicyRevision:
        return await store.put_policies(SCOPE, PolicyRevision(0, {"rules": rules}, {"a.yaml": "x"}))

    stored = run(server, put)
    assert run(server, lambda store: store.policies(SCOPE)) == stored


@pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(server):
    """A child of ``os.fork`` uses the store it inherited without touching the parent's connection."""

    async def both(store: NatsStore) -> int:
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

    assert run(server, both) == 2


def test_a_store_may_move_to_another_event_loop(server):
    """A handle that was closed in one loop is opened again in another, and goes on where it was."""
    store = connect(f"{server.url}/mesh")

    async def work(number: int) -> int:
        await store.open()
        (result,) = await store.append([move()])
        await store.close()
        return result.revision

    assert [asyncio.run(work(number)) for number in range(3)] == [1, 2, 3]


def test_what_is_not_ours_in_the_log_is_named(server):
    """A message that somebody else put into the log is told with its number, and nothing is guessed."""

    async def poison(store: NatsStore) -> None:
        await store.append([move()])
        client = await nats.connect(server.url)
        await client.jetstream().publish(f"mesh.{store._replica.view.identity}.t", b"not ours")
        await client.close()
        await store.append([move()])

    with pytest.raises(StoreError, match="message 2 of the stream 'mesh' is not one of mcp-sdk's"):
        run(server, poison)


def test_what_is_not_ours_is_named_to_who_waits(server):
    """Who waits for an answer when such a message comes is told of it too, not of a lost connection."""

    async def poison(store: NatsStore) -> None:
        await store.append([move()])
        client = await nats.connect(server.url)
        await client.subscribe("silent")
        await client.flush()
        waiting = asyncio.create_task(store._replica._connection.ask("silent"))
        try:
            await client.jetstream().publish(f"mesh.{store._replica.view.identity}.t", b"not ours")
            await waiting
        finally:
            await client.close()

    with pytest.raises(StoreError, match="message 2 of the stream 'mesh' is not one of mcp-sdk's"):
        run(server, poison)


def bytes_of(server: Nats) -> bytes:
    """Give every byte that a server has on disk."""
    return b"".join(path.read_bytes() for path in sorted((server.folder / "store").rglob("*")) if path.is_file())


@pytest.mark.parametrize("checkpointed", [False, True])
def test_forgotten_bytes_are_gone(server, checkpointed):
    """After ``forget`` no file of the server holds what was known of the entity, and what stood beside it is kept."""
    secret = "Rosalind Franklin, 4 Kings College"
    rosalind = EntityRef("order", "o-rosalind")

    async def forget(store: NatsStore) -> list[int]:
        for number in range(50):
            known = {"who": secret, "n": number}
            await store.append([move("o-rosalind", f"s{number}", attributes=known), move(f"o-{number % 7}")])
        if checkpointed:
            assert await checkpoints.write(store._replica)
        receipt = await store.forget(SCOPE, rosalind)
        assert (receipt.contexts, receipt.transitions) == (1, 50)
        assert secret.encode() not in bytes_of(server)
        return [len(await store.history(SCOPE, EntityRef("order", f"o-{n}"))) for n in range(7)]

    counts = run(server, forget, kept=1)
    assert counts == [8, 7, 7, 7, 7, 7, 7]
    server.end()
    assert secret.encode() not in bytes_of(server)
    server.start()
    assert run(server, lambda store: store.get(SCOPE, [rosalind])) == {}
    history = run(server, lambda store: store.history(SCOPE, EntityRef("order", "o-0")))
    assert [entry.context.revision for entry in history] == list(range(1, 9))


def test_two_who_forget_at_once_leave_nothing(server):
    """Entities whose rows stand in the same messages are forgotten through two handles at the same time."""

    async def forget(store: NatsStore) -> int:
        other = connect(f"{server.url}/mesh")
        await other.open()
        for number in range(10):
            await store.append([move(name, f"s{number}", attributes={"who": f"{name}-secret"}) for name in "abcd"])
        pairs = [(store, "a"), (other, "b"), (store, "c")]
        await asyncio.gather(*(handle.forget(SCOPE, EntityRef("order", name)) for handle, name in pairs))
        left = len(await other.history(SCOPE, EntityRef("order", "d")))
        await other.close()
        return left

    assert run(server, forget) == 10
    found = bytes_of(server)
    assert [f"{name}-secret".encode() in found for name in "abcd"] == [False, False, False, True]


def test_a_start_reads_the_checkpoint_and_what_came_after(server):
    """A new handle begins at the checkpoint: entities, events, records, endpoints and policies are as they were."""
    moves = [move(f"o-{n}", attributes={"n": n}) for n in range(2500)]

    async def prepare(store: NatsStore) -> None:
        await store.append(moves)
        await store.put_record(SCOPE, Record("token", "t", {"a": [1]}))
        await store.register(SCOPE, Endpoint("shop", "http://127.0.0.1:1"), ttl=600)
        await store.put_policies(SCOPE, PolicyRevision(0, {"n": 1}))
        await store.append_audit(1, "first")
        assert await checkpoints.write(store._replica)
        assert not await checkpoints.write(store._replica)
        await store.append([move("o-1", "paid", base_revision=1), move("late")])

    async def look(store: NatsStore) -> list[object]:
        assert store._replica.ring.floor == 5
        again = await store.append(moves[:3])
        page = await store.list(SCOPE, "order", limit=5000)
        return [
            {result.status for result in again},
            len(page.contexts),
            (await store.get(SCOPE, [EntityRef("order", "o-1")]))[EntityRef("order", "o-1")].state,
            [record.content for record in await store.records(SCOPE, "token")],
            len(await store.endpoints(SCOPE)),
            (await store.policies(SCOPE)).programs,
            await store.audit(),
            len(await store.history(SCOPE, EntityRef("order", "o-1"))),
        ]

    run(server, prepare)
    assert run(server, look) == [
        {AppendStatus.DUPLICATE},
        2501,
        "paid",
        [{"a": [1]}],
        1,
        {"n": 1},
        ("first",),
        2,
    ]


def test_a_renewed_lease_is_known_to_a_handle_that_saw_only_the_first(server):
    """A lease that another handle renewed is looked up before an endpoint is taken for gone."""
    endpoint = Endpoint("shop", "http://127.0.0.1:1")

    async def renew(store: NatsStore) -> tuple[int, int]:
        other = connect(f"{server.url}/mesh")
        await other.open()
        await store.register(SCOPE, endpoint, ttl=1.0)
        sequence = (await other.cursor()).partition(":")[2]
        deadline = time.monotonic() + 2.5
        counts = set()
        while time.monotonic() < deadline:
            await store.register(SCOPE, endpoint, ttl=1.0)
            await asyncio.sleep(0.1)
            counts.add(len(await other.endpoints(SCOPE)))
        quiet = (await other.cursor()).partition(":")[2] == sequence
        await other.close()
        return counts, quiet

    assert run(server, renew) == ({1}, True)


def test_what_was_forgotten_does_not_come_back_through_a_new_handle(server):
    """A handle that reads the log only after the rows were erased still knows their events."""
    sent = [move("o-1"), move("o-2")]

    async def forget(store: NatsStore) -> None:
        await store.append(sent)
        await store.forget(SCOPE, EntityRef("order", "o-1"))

    run(server, forget)
    again = run(server, lambda store: store.append(sent))
    assert [result.status for result in again] == [AppendStatus.DUPLICATE] * 2
