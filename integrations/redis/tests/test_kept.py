"""What the store keeps in a server, for how long, and by which commands."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mcp_sdk_redis import RedisStore, connect
from redis_servers import RedisServer

from mcp_sdk.context import MESH, EntityRef, Outcome, Scope
from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Record, SigningKey
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.testing.stores import collect, move

pytestmark = pytest.mark.services
SCOPE, ORDER = Scope(), EntityRef("order", "o-1")
TAG = "{mcp_sdk}:"
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


async def everything(store: RedisStore) -> None:
    """Write something of every kind."""
    await store.append([move(), move("o-2", outcome=Outcome.ABORTED), move("o-3", model="user")])
    await store.put_models(SCOPE, [BusinessModel("order")])
    await store.put_policies(SCOPE, PolicyRevision(0, {}))
    await store.register(SCOPE, Endpoint("shop", "http://127.0.0.1:1"), ttl=60)
    await store.put_key(SCOPE, SigningKey("k", bytes(16)))
    await store.put_record(MESH, Record("token", "t"))
    await store.append_audit(1, "entry")
    await store.forget(SCOPE, EntityRef("user", "o-3"))


def test_all_keys_share_one_hash_tag_and_none_runs_out(serve: Serve):
    """Whatever is written stands under the prefix's tag, so in one slot, and has no time to live to be evicted by."""
    server = serve()
    run(server.url, everything)
    with server.client() as client:
        keys = client.keys("*")
        assert len(keys) > 10
        assert all(key.startswith(TAG.encode()) for key in keys)
        assert {client.ttl(key) for key in keys} == {-1}


def test_a_batch_is_one_round_trip(serve: Serve):
    """Five hundred transitions are one script, and no command of it is repeated for each but XADD."""
    server = serve()

    async def batch(store: RedisStore) -> dict[str, int]:
        await store.append([move()])
        with server.client() as client:
            client.config_resetstat()
            await store.append([move(f"n-{number}") for number in range(500)])
            stats = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats.items()}

    calls = run(server.url, batch)
    assert (calls.pop("evalsha"), calls.pop("xadd")) == (1, 500)
    assert sum(calls.values()) < 40


def test_nothing_looks_at_everything(serve: Serve):
    """Lists, histories, look-ups and erasing find by index: the server is never asked to scan."""
    server = serve()

    async def use(store: RedisStore) -> set[str]:
        await everything(store)
        await store.list(SCOPE, "order", state="created", id_prefix="o")
        await store.history(SCOPE, ORDER)
        await store.retain(SCOPE, "order", move().observed_at)
        with server.client() as client:
            return set(client.info("commandstats"))

    told = run(server.url, use)
    assert "cmdstat_zrangebylex" in told
    assert not {name for name in told if "scan" in name or name == "cmdstat_keys"}


def test_forgotten_bytes_are_gone(serve: Serve, tmp_path: Path):
    """After ``forget`` a dump of the memory holds nothing of what was known of the entity but its id in the notice."""
    server = serve("--rdbcompression", "no")
    secret = "Rosalind Franklin, 4 Kings College"

    def dump() -> bytes:
        with server.client() as client:
            client.save()
        return (tmp_path / "redis" / "dump.rdb").read_bytes()

    async def forget(store: RedisStore) -> None:
        for number in range(50):
            known = {"who": secret, "n": number}
            await store.append([move("o-rosalind", f"s{number}", attributes=known), move(f"o-{number}")])
        assert secret.encode() in dump()
        await store.forget(SCOPE, EntityRef("order", "o-rosalind"))
        assert secret.encode() not in dump()
        assert len((await store.list(SCOPE, "order")).contexts) == 50

    run(server.url, forget)


def test_a_watcher_goes_on_past_what_was_erased(serve: Serve):
    """More erased changes than a page holds do not hold a watcher up, nor keep it busy when nothing follows them."""
    server = serve()

    async def passed(store: RedisStore) -> list[str]:
        cursor = await store.cursor()
        await store.append([move(to_state=f"s{number}") for number in range(1200)])
        await store.forget(SCOPE, ORDER)
        (change,) = await collect(store, cursor, 1)
        await store.append([move("aborted", outcome=Outcome.ABORTED)])
        await store.retain(SCOPE, "order", datetime.now(UTC) + timedelta(hours=1))
        watching = asyncio.create_task(collect(store, change.cursor, 1))
        await asyncio.sleep(0.2)
        with server.client() as client:
            asked = client.info("commandstats")["cmdstat_xread"]["calls"]
        await store.append([move("o-2")])
        (following,) = await watching
        assert asked < 5
        return [change.kind, following.applied.transition.entity_id]

    assert run(server.url, passed) == ["forgotten", "o-2"]


def test_notices_are_erased_after_a_day_and_ask_for_a_resync(serve: Serve):
    """Whom a notice named is erased after a day; a watcher that comes later than that is told to read again."""
    server = serve()

    async def late(store: RedisStore) -> list[str]:
        await store.append([move()])
        cursor = await store.cursor()
        await store.forget(SCOPE, ORDER)
        with server.client() as client:  # as though it were of the first day of 1970
            (number,) = client.lrange(f"{TAG}notices", 0, -1)
            client.hset(f"{TAG}log", "1-0", client.hget(f"{TAG}log", number))
            client.hdel(f"{TAG}log", number)
            client.lset(f"{TAG}notices", 0, "1-0")
            await store.open()
            assert client.hgetall(f"{TAG}log") == {}
            assert client.llen(f"{TAG}notices") == 0
        return [change.kind for change in await collect(store, cursor, 1)]

    assert run(server.url, late) == ["resync"]


@pytest.mark.parametrize("bound", ["log_size=10", "log_age=0.05"])
def test_the_log_is_bounded_and_says_so(serve: Serve, bound: str):
    """What is beyond the bounds is erased with the next changes; a watcher that was there reads again, others go on."""
    server = serve()

    async def overflow(store: RedisStore) -> None:
        start = await store.cursor()
        for number in range(5):
            await store.append([move(f"o-{number}-{n}") for n in range(20)])
            await asyncio.sleep(0.1)
        middle = await store.cursor()
        await store.append([move("o-0-0")])
        (change,) = await collect(store, start, 1)
        assert change.kind == "resync"
        assert len(await collect(store, middle, 1)) == 1
        assert len((await store.list(SCOPE, "order", limit=1000)).contexts) == 100
        assert [entry.context.revision for entry in await store.history(SCOPE, EntityRef("order", "o-0-0"))] == [2]
        with server.client() as client:
            assert client.xlen(f"{TAG}changes") == client.hlen(f"{TAG}log") <= 20

    run(f"{server.url}?{bound}", overflow)


def test_event_ids_are_remembered_apart_from_the_log(serve: Serve):
    """An event id is known though the log no longer holds its change, and for a day and a half at most."""
    server = serve()

    async def again(store: RedisStore) -> None:
        sent = move()
        await store.append([sent])
        await store.append([move(f"o-{number}") for number in range(10)])
        assert (await store.append([sent]))[0].status.value == "duplicate"
        with server.client() as client:  # two days later the hash's turn comes again
            (name,) = [key for key in client.keys("*seen*") if client.exists(key)]
            client.hset(f"{TAG}meta", f"seen{name.decode()[-1]}", "0")
        assert (await store.append([sent]))[0].status.value == "applied"

    run(f"{server.url}?log_size=1", again)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((), ["keeps nothing on disk"]),
        (("--appendonly", "yes"), []),
        (("--save", "60 1"), []),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), ["throws keys away"]),
        (("--rename-command", "CONFIG", ""), []),
    ],
)
def test_a_server_that_may_lose_what_it_acknowledged_is_told_of_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, settings: tuple[str, ...], told: list[str]
):
    """Opening warns once of a server that keeps nothing on disk or evicts; where it does not tell, nothing is said."""
    caplog.set_level(logging.WARNING, "mcp_sdk_redis")
    run(serve(*settings).url, RedisStore.open)
    assert len(caplog.messages) == len(told)
    assert all(part in message for part, message in zip(told, caplog.messages, strict=True))


def test_a_newer_schema_is_refused(serve: Serve):
    """Data of a newer version say which versions meet and how to mend it."""
    server = serve()
    run(server.url, everything)
    with server.client() as client:
        client.hset(f"{TAG}meta", "schema", 2)
    with pytest.raises(StoreError, match=r"holds schema 2.*knows 1.*pip install -U"):
        run(server.url, RedisStore.cursor)


def test_what_cannot_be_stored_is_refused_apart_from_outages(serve: Serve):
    """A text that is no Unicode is refused as such, and nothing of its call is stored."""

    async def refuse(store: RedisStore) -> int:
        for bad in (move("bad\ud800"), move(attributes={"a": "\ud800"})):
            with pytest.raises(StoreError, match="cannot hold this") as caught:
                await store.append([move("o-1"), bad])
            assert not isinstance(caught.value, StoreUnavailable)
        with pytest.raises(StoreError, match="cannot hold this"):
            await store.get(SCOPE, [EntityRef("order", "\ud800")])
        with pytest.raises(StoreError, match="cannot hold this"):
            await store.list(SCOPE, "order", id_prefix="\ud800")
        with pytest.raises(StoreError, match="cannot hold this"):
            await store.put_record(MESH, Record("token", "t", {"a": "\ud800"}))
        with pytest.raises(StoreError, match="cannot hold this"):
            await store.models(Scope("\ud800"))
        return len((await store.list(SCOPE, "order")).contexts)

    assert run(serve().url, refuse) == 0


def test_a_store_serves_one_event_loop_after_another(serve: Serve):
    """A handle that was closed in one loop is opened in another."""
    store = connect(serve().url)

    async def use() -> int:
        await store.open()
        await store.append([move()])
        found = len(await store.history(SCOPE, ORDER))
        await store.close()
        return found

    assert [asyncio.run(use()), asyncio.run(use())] == [1, 2]


def test_a_closed_store_is_unavailable(serve: Serve):
    """What is asked of a closed store is refused in words."""

    async def closed(store: RedisStore) -> None:
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.append([move()])

    run(serve().url, closed)


@pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(serve: Serve):
    """A child of ``os.fork`` uses the store it inherited without touching the parent's connections."""

    async def both(store: RedisStore) -> int:
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

    assert run(serve().url, both) == 2
