"""What goes wrong around a server: clients that say too much, read too slowly, or say it again; a disk that is full."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Replica, resident
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.clients.remote import RemoteControlPlane
from mcp_sdk.context import EntityRef, Transition
from mcp_sdk.protocol.frames import frame
from mcp_sdk.server.app import create_app
from mcp_sdk.server.settings import ServerSettings

ORDER = BusinessModel("order")
HELLO = frame("hello", protocol=[1], models=["order"])


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A server over a file of its own."""
    with Replica(tmp_path) as running:
        yield running


def client(replica: Replica) -> httpx.Client:
    """Give an HTTP client of the admin's."""
    headers = {"authorization": f"Bearer {replica.token}"}
    return httpx.Client(base_url=replica.url, headers=headers, timeout=30, trust_env=False)


def moves(count: int, entity: str = "o-1", **fields: Any) -> list[dict[str, Any]]:
    """Give transitions as they are posted."""
    return [Transition("order", entity, f"s{number}", uuid.uuid4().hex, **fields).to_dict() for number in range(count)]


def post(http: httpx.Client, transitions: list[dict[str, Any]]) -> httpx.Response:
    """Publish transitions."""
    return http.post("/v1/transitions", json={"transitions": transitions})


def test_batches_that_are_replayed_and_reordered_apply_once(replica: Replica) -> None:
    """Batches that come again, and in another order, change nothing more: each transition is applied once."""
    batches = [moves(5, f"o-{number}") for number in range(8)]
    with client(replica) as http:
        for batch in batches:
            assert post(http, batch).status_code == 200
        again = [*batches, *batches]
        random.Random(7).shuffle(again)
        for batch in again:
            statuses = {result["status"] for result in post(http, batch).json()["results"]}
            assert statuses == {"duplicate"}
        page = http.get("/v1/contexts/order").json()
        assert {(each["id"], each["revision"], each["state"]) for each in page["contexts"]} == {
            (f"o-{number}", 5, "s4") for number in range(8)
        }


def test_a_replica_that_is_killed_under_load_loses_nothing_it_acknowledged(replica: Replica) -> None:
    """Whatever was answered with 200 before a SIGKILL is there afterwards, without a gap in revisions."""
    acknowledged: list[str] = []

    async def load() -> None:
        headers = {"authorization": f"Bearer {replica.token}"}
        async with httpx.AsyncClient(base_url=replica.url, headers=headers, trust_env=False) as http:

            async def lane() -> None:
                while True:
                    batch = moves(10)
                    answer = await http.post("/v1/transitions", json={"transitions": batch})
                    if answer.status_code == 200:
                        acknowledged.extend(each["event_id"] for each in batch)

            lanes = [asyncio.create_task(lane()) for _ in range(4)]
            while len(acknowledged) < 300:  # noqa: ASYNC110 - the lanes run on
                await asyncio.sleep(0.01)
            replica.kill()
            await asyncio.gather(*lanes, return_exceptions=True)

    asyncio.run(load())
    replica.start()
    with client(replica) as http:
        found = http.get("/v1/contexts/order/history", params={"id": "o-1", "limit": 1000}).json()["transitions"]
    stored = [each["transition"]["event_id"] for each in found]
    assert set(acknowledged[-900:]) <= set(stored)
    revisions = [each["context"]["revision"] for each in found]
    assert revisions == list(range(revisions[0], revisions[0] + len(revisions)))


def test_a_slow_reader_costs_bounded_memory_and_is_told_to_read_anew(replica: Replica) -> None:
    """A client, or an onlooker, that does not read gets one ``resync`` for what it missed; the server does not grow."""

    async def run() -> None:
        headers = {"authorization": f"Bearer {replica.token}"}
        reader, writer = await asyncio.open_connection("127.0.0.1", replica.port, limit=1024)
        writer.write(f"GET /v1/tap HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {replica.token}\r\n\r\n".encode())
        assert b"200" in await reader.readline()
        async with connect(
            f"{replica.url.replace('http', 'ws')}/v1/stream", additional_headers=headers, max_queue=1, compression=None
        ) as slow:
            await slow.send(HELLO)
            before = resident(replica.pid)
            await asyncio.to_thread(flood)
            assert resident(replica.pid) - before < 80_000_000
            async with asyncio.timeout(60):
                while json.loads(await slow.recv())["op"] != "resync":
                    pass
                await onlook(reader)
        writer.close()

    async def onlook(reader: asyncio.StreamReader) -> None:
        seen = b""
        while b"event: resync" not in seen:
            seen = seen[-20:] + await reader.read(65_536)

    def flood() -> None:
        text = "x" * 20_000
        with client(replica) as http:
            for number in range(150):
                batch = moves(20, f"o-{number}", attributes={"text": text})
                assert post(http, batch).status_code == 200

    asyncio.run(run())


def test_a_disk_that_is_full_is_said_and_loses_nothing(tmp_path: Path) -> None:
    """While the store cannot grow transitions are refused with a 503; what was acknowledged is there afterwards."""
    with Replica(tmp_path) as replica, client(replica) as http:
        assert post(http, moves(3)).status_code == 200
        size = sum(path.stat().st_size for path in tmp_path.glob("mesh.db*"))
        _limit(replica.pid, size + 100_000)
        refused = _until_refused(http)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:mcp-sdk:problem:store-unavailable")
        assert refused.json()["detail"].startswith("the store does not answer just now. Try again")
        assert "disk" in (tmp_path / f"serve-{replica.port}.log").read_text()
        kept = http.get("/v1/contexts/order").json()["contexts"]
        _limit(replica.pid, -1)
        assert post(http, moves(1, "after")).status_code == 200
        ids = {each["id"] for each in http.get("/v1/contexts/order", params={"limit": 1000}).json()["contexts"]}
        assert {each["id"] for each in kept} < ids


def test_a_store_that_fails_is_described_to_operators_and_the_log_alone(tmp_path: Path) -> None:
    """A caller learns neither its file nor its host; ``/v1/probe``, which is for operators, and the log say both."""
    with Replica(tmp_path) as replica, client(replica) as http:
        (tmp_path / "mesh.db").write_bytes(b"no database" * 1000)
        answer = _until_refused(http)
        assert answer.json()["detail"] == (
            "the store does not answer just now. Try again in a while; the server's log says why"
        )
        assert answer.headers["retry-after"] == "1"
        assert str(tmp_path) not in httpx.get(f"{replica.url}/readyz", trust_env=False).text
        probed = http.post("/v1/probe")
        assert (probed.status_code, probed.json()["type"]) == (503, "urn:mcp-sdk:problem:store-unavailable")
        assert f"{tmp_path / 'mesh.db'} is not a database" in probed.json()["detail"]
        assert f"{tmp_path / 'mesh.db'} is not a database" in (tmp_path / f"serve-{replica.port}.log").read_text()


def _limit(pid: int, size: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, -1))


def _until_refused(http: httpx.Client) -> httpx.Response:
    for number in range(200):
        answer = post(http, moves(20, f"o-{number}", attributes={"text": "x" * 2000}))
        if answer.status_code != 200:
            return answer
    raise AssertionError("the disk never filled")


def test_a_replica_holds_no_more_streams_than_it_may(tmp_path: Path) -> None:
    """The stream that is one too many is closed as one to try again elsewhere; when one ends there is place again."""
    with Replica(tmp_path, options=("--streams", "2")) as replica:
        place = f"{replica.url.replace('http', 'ws')}/v1/stream"
        headers = {"authorization": f"Bearer {replica.token}"}

        async def run(stack: AsyncExitStack) -> None:
            async def open_one() -> Any:
                socket = await stack.enter_async_context(connect(place, additional_headers=headers))
                await socket.send(HELLO)
                assert json.loads(await socket.recv())["op"] == "welcome"
                return socket

            first, _ = await open_one(), await open_one()
            with pytest.raises(ConnectionClosed) as closed:
                await open_one()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
            await first.close()
            async with asyncio.timeout(10):
                while True:
                    with suppress(ConnectionClosed):
                        await open_one()
                        return
                    await asyncio.sleep(0.05)

        async def within() -> None:
            async with AsyncExitStack() as stack:
                await run(stack)

        asyncio.run(within())


@pytest.mark.parametrize(
    "said",
    [
        ["x"],
        ["[" * 100_000],
        [frame("get", id=1, refs=[])],
        [frame("hello", protocol=[99])],
        [HELLO, "not json"],
        [HELLO, frame("get", id=1, refs=[[1, 2]])],
        [HELLO, b"\xff\xfe"],
        [HELLO, frame("decide", id=1, question={"service": 1})],
    ],
)
def test_a_client_that_cannot_be_understood_hurts_nobody_else(replica: Replica, said: list[str | bytes]) -> None:
    """Whatever a client says, its stream ends with a reason, or it is answered; another one goes on."""
    place = f"{replica.url.replace('http', 'ws')}/v1/stream"

    async def run() -> None:
        async with connect(place, additional_headers={"authorization": f"Bearer {replica.token}"}) as socket:
            for text in said:
                await socket.send(text)
            with suppress(ConnectionClosed):
                async with asyncio.timeout(10):
                    while json.loads(await socket.recv())["op"] != "failed":
                        pass
            assert socket.close_code in (None, 4400, 1007)

    with Mesh(settings(replica), models=[ORDER]) as other:
        assert isinstance(other.control_plane, RemoteControlPlane)
        asyncio.run(run())
        other.publish("order", "o-9", state="x")
        assert other.control_plane.flush(10)
        assert other.control_plane.fetch([EntityRef("order", "o-9")]).result(5)


def settings(replica: Replica) -> Config:
    """Give the settings of a service."""
    return Config(service="shop", control_plane=replica.url, token=replica.token, start_timeout=20.0)


def test_nobody_is_let_in_without_a_token(replica: Replica) -> None:
    """Every path but health and what AuthZEN has public asks who it is, and the stream too."""
    routes = create_app(ServerSettings(store="memory:")).state.routes
    public = {"/healthz", "/readyz", "/.well-known/authzen-configuration"}
    asked = [(method, route.path) for route in routes for method in getattr(route, "methods", ())]
    assert len(asked) > 40
    assert public < {path for _, path in asked}
    for method, path in asked:
        answer = httpx.request(method, replica.url + path.replace("{digest}", "0" * 64), trust_env=False)
        assert answer.status_code == (200 if path in public else 401), (method, path, answer.text)
    assert [route.path for route in routes if not hasattr(route, "methods")] == ["/v1/stream"]
    assert asyncio.run(_refusal(replica)) == 403, "as a WebSocket is refused that was not accepted"


async def _refusal(replica: Replica) -> int:
    """Give the status with which the stream refuses who brings no token."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{replica.url.replace('http', 'ws')}/v1/stream"):
            pass
    return refused.value.response.status_code


def wait(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_policy_outlives_its_replacement_for_longer_than_a_moment(replica: Replica) -> None:
    """Once a refusing policy is applied, every client refuses: no stale permit is given two seconds later."""
    text = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: a, namespace: default}}
spec:
  target: {{service: shop}}
  default: {default}
"""
    meshes = [Mesh(settings(replica), models=[ORDER]).start() for _ in range(5)]
    try:
        with client(replica) as http:
            for replaces, default in enumerate(("permit", "deny", "permit", "deny")):
                body = {"sources": {"a.yaml": text.format(default=default)}, "replaces": replaces}
                assert http.post("/v1/policies", json=body).status_code == 200
                wait(lambda r=replaces: all(mesh.control_plane.snapshot().revision == r + 1 for mesh in meshes))  # type: ignore[misc]
    finally:
        for mesh in meshes:
            mesh.close()
