"""How a replica leaves: unready first, streams sent away, requests ended, status 0."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from listening import Reader
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, Mesh
from mcp_sdk.ports import Status
from mcp_sdk.server.exits import spread

ORDER = BusinessModel("order", states=("created", "paid"))


class Load:
    """Publishes transitions until it is stopped, again until each is acknowledged, as a client of ours does."""

    def __init__(self, replica: Replica, name: str) -> None:
        self.replica, self.name, self.going = replica, name, True
        self.stored: list[str] = []
        self.answers: set[int] = set()
        self.broken = 0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def stop(self) -> None:
        self.going = False
        self.thread.join(30)

    def _run(self) -> None:
        headers = {"authorization": f"Bearer {self.replica.token}"}
        with httpx.Client(base_url=self.replica.url, headers=headers, trust_env=False, timeout=10) as client:
            for number in itertools.count():
                if not self.going:
                    return
                self._publish(client, f"{self.name}-{number}")

    def _publish(self, client: httpx.Client, name: str) -> None:
        one = {"model": "order", "entity_id": name, "to_state": "paid", "event_id": name}
        while True:
            try:
                response = client.post("/v1/transitions", json=one)
            except httpx.ConnectError:
                time.sleep(0.02)
                continue
            except httpx.TransportError:
                self.broken += 1
                continue
            self.answers.add(response.status_code)
            if response.status_code == 200:
                self.stored.append(name)
                return


def test_no_request_is_lost_when_a_replica_leaves_and_comes_back(tmp_path: Path) -> None:
    """Under load: unready before it stops, exit status 0, nothing acknowledged is lost, no request is cut off."""
    with Replica(tmp_path) as replica:
        loads = [Load(replica, f"l{number}") for number in range(4)]
        until(lambda: all(len(load.stored) > 20 for load in loads))
        replica.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{replica.url}/readyz", trust_env=False).status_code == 503)
        assert replica.process.wait(15) == 0
        replica.start()
        before = [len(load.stored) for load in loads]
        until(lambda: all(len(load.stored) > some + 20 for load, some in zip(loads, before, strict=True)))
        for load in loads:
            load.stop()
        known = listed(replica)
    assert {name for load in loads for name in load.stored} <= known
    assert set().union(*(load.answers for load in loads)) == {200}
    assert sum(load.broken for load in loads) <= len(loads)  # a connection that nobody had accepted yet


def test_who_waits_longer_than_a_replica_does_is_told_to_try_again(tmp_path: Path) -> None:
    """A store that is locked by another process holds two requests up when the replica stops: 503 with the way on."""
    with Replica(tmp_path) as replica, ThreadPoolExecutor() as pool:
        headers = {"authorization": f"Bearer {replica.token}"}

        def post(name: str) -> httpx.Response:
            one = {"model": "order", "entity_id": name, "to_state": "paid", "event_id": name}
            url = f"{replica.url}/v1/transitions"
            return httpx.post(url, json=one, headers=headers, trust_env=False, timeout=30)

        assert post("o-1").status_code == 200
        with closing(sqlite3.connect(tmp_path / "mesh.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            posted = [pool.submit(post, "o-2")]
            time.sleep(0.5)  # for the second to be none of the group that the first is in
            posted.append(pool.submit(post, "o-3"))
            time.sleep(0.5)
            replica.process.send_signal(signal.SIGTERM)
            answers = [each.result() for each in posted]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert all(answer.headers["retry-after"] == "1" for answer in answers)
        assert "again" in answers[1].json()["detail"]
        assert replica.process.wait(15) == 0
        assert "Traceback" not in (tmp_path / f"serve-{replica.port}.log").read_text()


def listed(replica: Replica) -> set[str]:
    """Give the ids of all orders."""
    found: set[str] = set()
    headers = {"authorization": f"Bearer {replica.token}"}
    with httpx.Client(base_url=replica.url, headers=headers, trust_env=False) as client:
        after = ""
        while True:
            page: dict[str, Any] = client.get("/v1/contexts/order", params={"limit": 1000, "after": after}).json()
            found |= {context["id"] for context in page["contexts"]}
            after = page["after"]
            if not after:
                return found


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_replica_quietly(tmp_path: Path, second: signal.Signals) -> None:
    """A stream that stays is not waited for: status 0, not a word in the log, and what was stored is there."""
    with Replica(tmp_path) as replica:
        headers = {"authorization": f"Bearer {replica.token}"}
        with httpx.Client(base_url=replica.url, headers=headers, trust_env=False) as client:
            one = {"model": "order", "entity_id": "o-1", "to_state": "paid", "event_id": "e-1"}
            assert client.post("/v1/transitions", json=one).status_code == 200
            before = (tmp_path / f"serve-{replica.port}.log").read_text()
            with client.stream("GET", "/v1/tap") as response:
                assert response.status_code == 200
                replica.process.send_signal(signal.SIGTERM)
                until(lambda: httpx.get(f"{replica.url}/readyz", trust_env=False).status_code == 503)
                replica.process.send_signal(second)
                assert replica.process.wait(15) == 0
        assert (tmp_path / f"serve-{replica.port}.log").read_text() == before
        replica.start()
        assert listed(replica) == {"o-1"}


def test_streams_are_told_to_go_and_come_back(tmp_path: Path) -> None:
    """A client is stale while the replica is away and ready again when it is back; readers of events are told too."""
    with Replica(tmp_path) as replica:
        config: dict[str, Any] = {"control_plane": replica.url, "token": replica.token, "start_timeout": 15.0}
        headers = {"authorization": f"Bearer {replica.token}"}
        with (
            Mesh(service="shop", models=[ORDER], **config) as mesh,
            httpx.Client(base_url=replica.url, headers=headers, trust_env=False) as client,
        ):
            until(lambda: mesh.control_plane.status() is Status.READY)
            with Reader(client, "/v1/tap") as tap, Reader(client, "/v1/audit/stream") as audit:
                replica.process.send_signal(signal.SIGTERM)
                assert 0 <= tap.next("bye").data["after"] < 5
                audit.next("bye")
                assert replica.process.wait(15) == 0
                until(lambda: tap.ended and audit.ended)
            until(lambda: mesh.control_plane.status() is Status.STALE)
            replica.start()
            until(lambda: mesh.control_plane.status() is Status.READY)


def test_the_more_streams_the_wider_they_are_spread() -> None:
    """A thousand do not come back at once, and nobody waits longer than is said."""
    few, many = [spread(1, 30.0) for _ in range(200)], [spread(1000, 30.0) for _ in range(200)]
    assert max(few) < 0.3
    assert 3 < max(many) <= 30.0
