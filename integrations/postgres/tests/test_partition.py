"""A replica that is cut off from PostgreSQL by the network, while another is not, and clients of both work on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi", reason="a server needs mcp-sdk[server]")
from lengths import LONG, length
from mcp_sdk_postgres import connect
from networks import HERE, End, Networks
from postgres_servers import PostgresServer
from posting import Lane, lanes, refusal
from serving import Replica, resident

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.ports import Status
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.testing.stores import move

pytestmark = pytest.mark.services
HOLDER = Path(__file__).with_name("holder.py")
ORDER = BusinessModel("order", states=("created", "paid"))
STALENESS = length(5.0, 30.0)
OUTAGE = length(0.0, 60.0)
"""Seconds for which the cable stays cut, at least."""
BACK = 40.0
"""Seconds within which all is as before once the cable is whole: waits between attempts and the clients' own, and a
machine that does other work."""
SLACK = 5.0
"""Seconds for what is under way as the time ends, and for sending streams away."""
POLICY = """
kind: AccessPolicy
metadata: {{name: a}}
spec:
  target: {{service: shop}}
  default: {default}
"""


@dataclass
class Divided:
    """Two replicas over one PostgreSQL; ``lost`` is the one whose cable can be cut, at ``far`` or at ``near``."""

    database: PostgresServer
    lost: Replica
    whole: Replica
    near: End
    far: End


@pytest.fixture
def divided(tmp_path: Path) -> Iterator[Divided]:
    """Give two replicas; ``whole`` is not started yet."""
    with ExitStack() as stack:
        networks = stack.enter_context(Networks())
        store, apart = networks.namespace("store"), networks.namespace("apart")
        front, side, back = networks.cable(HERE, apart), networks.cable(HERE, store), networks.cable(apart, store)
        database = stack.enter_context(PostgresServer("0.0.0.0", networks.inside(store)))
        options = ("--staleness", f"{STALENESS:g}", "--behind-proxy")
        lost = Replica(
            tmp_path,
            database.url(back.far.address, timeout=1, connect_timeout=2),
            host=front.far.address,
            inside=networks.inside(apart),
            options=options,
        )
        lost.start()
        stack.callback(lost.kill)
        whole = Replica(tmp_path, database.url(side.far.address), token=lost.token, options=options)
        stack.callback(lambda: whole.kill() if hasattr(whole, "process") else None)
        yield Divided(database, lost, whole, back.near, back.far)


def until(holds: Callable[[], object], seconds: float = BACK) -> float:
    """Wait until something holds; give how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + seconds, "it did not come to hold in time"
        time.sleep(0.02)
    return time.monotonic() - began


def service(*replicas: Replica) -> Mesh:
    """Give a service that knows some replicas."""
    urls = ",".join(replica.url for replica in replicas)
    settings: dict[str, Any] = {"start_timeout": 30.0, "linger": 0.001, "token": replicas[0].token}
    return Mesh(Config(service="shop", control_plane=urls, **settings), models=[ORDER])


def permitted(mesh: Mesh) -> bool:
    """Tell whether a service lets a call in, as it knows things now."""
    return mesh.control_plane.decide(DecisionRequest("shop", "GET /x")).permitted


def asked(replica: Replica) -> httpx.Response:
    """Ask a replica to decide."""
    headers = {"authorization": f"Bearer {replica.token}"}
    url = f"{replica.url}/v1/decide"
    return httpx.post(url, headers=headers, json={"service": "shop"}, trust_env=False, timeout=30)


def apply(mesh: Mesh, replaces: int, default: str) -> None:
    """Put a policy in force."""
    revision = PolicyRevision(replaces, {}, {"a.yaml": POLICY.format(default=default)})
    assert mesh.control_plane.apply(revision).result(30).revision == replaces + 1


@pytest.mark.parametrize("end", ["far", *(["near"] if LONG else [])])
def test_a_partition_loses_nothing_and_grants_nothing_for_longer_than_said(divided: Divided, end: str) -> None:
    """What is cut off refuses after ``staleness``, clients go on by what they know or go to the other, all catch up.

    With the far end down what is sent vanishes without a word; with the near one down nothing can be sent at all.
    """
    lost, whole, cut = divided.lost, divided.whole, getattr(divided, end)
    with service(lost) as bound, service(lost, whole) as free:
        apply(bound, 0, "permit")
        until(lambda: permitted(free) and free.control_plane.snapshot().revision == 1)
        whole.start()
        with service(whole) as operator, lanes(lost, lost, whole) as posting:
            until(lambda: all(len(lane.acknowledged) > 50 for lane in posting))
            before = resident(lost.pid)
            sent = _publish(bound, 0)
            cut.down()
            began = time.monotonic()
            apply(operator, 1, "deny")
            granted = _granted(lost, began)
            print(f"{end}: decided {granted:.1f} s long by what was known ({STALENESS:g} s are allowed)")
            assert refusal(asked(lost)) == (503, "stale", "1")
            assert granted < STALENESS + SLACK
            until(lambda: not permitted(free), max(0.0, STALENESS + SLACK * 2 - (time.monotonic() - began)))
            print(f"{end}: a client of both refuses {time.monotonic() - began:.1f} s after the cut")
            _outlast(bound, began + OUTAGE)
            assert bound.control_plane.status() is Status.STALE
            sent += _publish(bound, len(sent))
            grown = resident(lost.pid) - before
            print(f"{end}: cut for {time.monotonic() - began:.0f} s, memory grew by {grown / 2**20:.1f} MB")
            assert grown < 60 * 2**20
            refused = posting[0].refusals | posting[1].refusals
            assert refused == {(503, "store-unavailable", "1")}
            cut.up()
            back = _caught_up(lost, bound, free, posting)
            print(f"{end}: as before after {back:.1f} s; the longest answer took {posting[0].longest:.1f} s")
            assert bound.control_plane.flush(BACK)
    _all_there(divided.database, posting, sent)


def test_a_writer_that_is_cut_off_in_the_middle_does_not_hold_up_others(tmp_path: Path) -> None:
    """The half of a pipeline arrived, with the lock of the log's head; the server lets go of it after some probes."""
    with ExitStack() as stack:
        networks = stack.enter_context(Networks())
        there, apart = networks.namespace("store"), networks.namespace("apart")
        side, back = networks.cable(HERE, there), networks.cable(apart, there)
        database = stack.enter_context(PostgresServer("0.0.0.0", networks.inside(there)))
        command = (*networks.inside(apart), sys.executable, str(HOLDER), database.url(back.far.address, timeout=1))
        holder = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(holder.kill)
        assert holder.stdout.readline() == "held\n"
        back.far.down()
        asyncio.run(_append(database.url(side.far.address, timeout=2)))


async def _append(url: str) -> None:
    store = connect(url)
    began = time.monotonic()
    while time.monotonic() < began + BACK:
        with suppress(StoreUnavailable):
            await store.open()
            await store.append([move()])
            print(f"the lock was let go of after {time.monotonic() - began:.1f} s")
            break
    else:
        pytest.fail("the lock is still held")
    await store.close()


def _publish(mesh: Mesh, start: int) -> list[str]:
    """Publish entities whose two transitions must be stored in order; give their ids."""
    ids = [f"o-{number}" for number in range(start, start + 50)]
    for entity in ids:
        mesh.publish("order", entity, state="created")
        mesh.publish("order", entity, state="paid")
    return ids


def _granted(replica: Replica, began: float) -> float:
    """Ask until a replica decides no longer; give the seconds after ``began`` of its last answer."""
    last = began
    while (answer := asked(replica)).status_code == 200:
        assert answer.json()["permitted"], "it cannot know of the new policy"
        last = time.monotonic()
        time.sleep(0.05)
    return last - began


def _outlast(mesh: Mesh, until_: float) -> None:
    """Have a service of the cut-off replica alone decide, by what it knows, until it was sent away and for as long."""
    until(lambda: mesh.control_plane.status() is Status.STALE)
    while time.monotonic() < until_:
        assert permitted(mesh)
        time.sleep(0.05)
    assert permitted(mesh)


def _caught_up(lost: Replica, bound: Mesh, free: Mesh, posting: list[Lane]) -> float:
    before = [len(lane.acknowledged) for lane in posting]

    def same() -> bool:
        planes = [mesh.control_plane for mesh in (bound, free)]
        going = all(len(lane.acknowledged) > some for lane, some in zip(posting, before, strict=True))
        ready = all(plane.status() is Status.READY and plane.snapshot().revision == 2 for plane in planes)
        return going and ready and not permitted(bound) and not permitted(free)

    took = until(same)
    answer = asked(lost)
    assert (answer.status_code, answer.json()["permitted"], answer.json()["revision"]) == (200, False, 2)
    return took


def _all_there(database: PostgresServer, posting: list[Lane], sent: list[str]) -> None:
    """Read by PostgreSQL alone that all that was acknowledged or published is there, once, without a gap."""
    rows = database.rows("SELECT event_id, entity_id, revision FROM log WHERE status = 'applied' ORDER BY seq")
    stored = [event_id for event_id, _, _ in rows]
    assert len(stored) == len(set(stored))
    assert {event for lane in posting for event in lane.acknowledged} <= set(stored)
    revisions: dict[str, list[int]] = {}
    for _, entity, revision in rows:
        revisions.setdefault(entity, []).append(revision)
    assert all(found == list(range(1, len(found) + 1)) for found in revisions.values())
    held = database.rows("SELECT entity_id, state, revision FROM entities WHERE entity_id LIKE 'o-%'")
    assert sorted(held) == sorted((entity, "paid", 2) for entity in sent)
    assert database.rows("SELECT max(revision) FROM policies") == [(2,)]
