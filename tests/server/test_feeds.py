"""Streams of server-sent events, over real sockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from desks import Served, served
from listening import Event, Reader
from serving import Replica
from waiting import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_stream

from mcp_sdk import BusinessModel, Mesh
from mcp_sdk.context import EntityRef
from mcp_sdk.decision_log import DecisionLog
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.protocol.frames import CLOSE_REFUSED, frame, read
from mcp_sdk.protocol.manifests import Envelope, Verifier, fingerprint
from mcp_sdk.server.feeds import Feed, event
from mcp_sdk.stores.sqlite import connect

ORDER = BusinessModel("order", states=("created", "paid", "shipped"), attributes={"amount": "int"})


def move(client: httpx.Client, name: str, state: str, **attributes: Any) -> None:
    """Say that an order is in a state."""
    one = {"model": "order", "entity_id": name, "to_state": state, "event_id": f"{name}-{state}"}
    assert client.post("/v1/transitions", json=one | {"attributes": attributes, "source": "billing"}).status_code == 200


def ask(client: httpx.Client, name: str) -> None:
    """Have the server decide."""
    asked = {"service": "shop", "operation": f"GET /orders/{name}", "references": [["order", name]]}
    assert client.post("/v1/decide", json=asked).status_code == 200


@pytest.fixture
def log() -> DecisionLog:
    """A decision log that masks the path, and has no sink of its own."""

    def mask(record: dict[str, Any]) -> dict[str, Any]:
        return record | {"operation": "masked"}

    return DecisionLog(mask=mask)


@pytest.fixture
def mesh(replica: Replica, admin: httpx.Client, log: DecisionLog) -> Iterator[Mesh]:
    """A service on the replica."""
    made = Mesh(
        service="shop",
        models=[ORDER],
        control_plane=replica.url,
        token=replica.token,
        start_timeout=15.0,
        fetch_timeout=5.0,
        decision_log=log,
    )
    with made as running:
        yield running


def test_manifests_are_streamed_signed_and_resumed(admin: httpx.Client) -> None:
    """The one in force comes at once and checks against its key; resuming from its id tells only what is newer."""
    with Reader(admin, "/v1/snapshots/stream") as reader:
        first = reader.next("manifest")
    key = bytes.fromhex(first.data["key"])
    assert Verifier({fingerprint(key): key}).open(Envelope.from_dict(first.data["envelope"]))["revision"] >= 1
    with Reader(admin, "/v1/snapshots/stream", headers={"last-event-id": first.id}) as reader:
        declared = BusinessModel(f"extra{len(first.id)}", states=("a",))
        assert admin.post("/v1/models", json={"models": [declared.to_dict()]}).status_code == 204
        assert reader.next("manifest").id != first.id


def test_a_tap_shows_transitions_that_fit(viewer: httpx.Client, admin: httpx.Client) -> None:
    """Filters on state, attributes and service hold together; what does not fit is not sent."""
    wanted = {"filter": ["order.state=paid", "order.amount=7"], "service": "billing"}
    with Reader(viewer, "/v1/tap", wanted) as reader:
        move(admin, "f-1", "created", amount=7)
        move(admin, "f-2", "paid", amount=8)
        move(admin, "f-3", "paid", amount=7)
        shown = reader.next("transition")
    assert shown.data["context"]["id"] == "f-3"
    assert shown.id


def test_a_tap_resumes_after_a_cursor(viewer: httpx.Client, admin: httpx.Client) -> None:
    """What happened between two readings is told to whoever says where it was; an unknown place is a resync."""
    with Reader(viewer, "/v1/tap", {"filter": "order.id=g-1"}) as reader:
        move(admin, "g-1", "created")
        seen = reader.next("transition").id
    move(admin, "g-1", "paid")
    move(admin, "g-1", "shipped")
    with Reader(viewer, "/v1/tap", {"filter": "order.id=g-1", "after": seen}) as reader:
        states = [reader.next("transition").data["context"]["state"] for _ in range(2)]
    assert states == ["paid", "shipped"]
    with Reader(viewer, "/v1/tap", {"after": "no-such-place"}) as reader:
        assert reader.next("resync").data["cursor"]


def test_a_tap_shows_the_servers_own_decisions(viewer: httpx.Client, admin: httpx.Client) -> None:
    """Filtered by verdict and by the state of the entity that was looked up."""
    with Reader(viewer, "/v1/tap", {"filter": "order.state=shipped", "verdict": "deny"}) as reader:
        ask(admin, "o-1")
        ask(admin, "o-2")
        shown = reader.next("decision").data
    assert (shown["record"]["verdict"], shown["record"]["contexts"][0]["id"]) == ("deny", "o-2")
    assert shown["by"] == {"server": True}


def decide(mesh: Mesh, name: str) -> None:
    """Decide in the client, with what its plane finds."""
    ref = EntityRef("order", name)
    request = DecisionRequest("shop", f"GET /orders/{name}", references=(ref,))
    found = mesh.control_plane.fetch([ref]).result(10)
    mesh.decide(DecisionRequest("shop", request.operation, contexts={one.model: one for one in found.values()}))


def tapped(log: DecisionLog) -> bool:
    """Tell whether a log is looked at."""
    return log.enabled


def test_clients_send_decisions_only_while_somebody_looks(
    viewer: httpx.Client, admin: httpx.Client, mesh: Mesh, log: DecisionLog
) -> None:
    """The log is off until a tap opens, sends masked records while it is, and is off again when it is left."""
    assert not tapped(log)
    with Reader(viewer, "/v1/tap", {"verdict": "deny", "kind": "decisions"}) as reader:
        until(lambda: tapped(log))
        decide(mesh, "o-1")
        decide(mesh, "o-2")
        shown: Event = reader.next("decision")
        assert (shown.data["record"]["verdict"], shown.data["record"]["operation"]) == ("deny", "masked")
        assert shown.data["by"]["service"] == "shop"
    until(lambda: not tapped(log))


def test_a_flood_of_decisions_is_bounded(
    viewer: httpx.Client, admin: httpx.Client, mesh: Mesh, log: DecisionLog
) -> None:
    """No more than the rate is sent, whatever is decided."""
    with Reader(viewer, "/v1/tap", {"kind": "decisions"}) as reader:
        until(lambda: tapped(log))
        for _ in range(2000):
            mesh.decide(DecisionRequest("shop", "GET /x"))
        reader.next("decision")
        assert reader.events.qsize() < 1000


def test_a_record_that_cannot_be_written_ends_nobodys_tap(
    viewer: httpx.Client, admin: httpx.Client, replica: Replica
) -> None:
    """A client that sends half a character is refused itself; whoever looks on is shown what comes after it."""
    headers = {"authorization": f"Bearer {replica.token}"}
    with (
        Reader(viewer, "/v1/tap", {"kind": "decisions"}) as reader,
        connect_stream(f"{replica.url.replace('http', 'ws')}/v1/stream", additional_headers=headers) as socket,
    ):
        socket.send(frame("hello", protocol=[1], namespace="default", environment="default"))
        while read(socket.recv(timeout=20))["op"] != "tap":
            pass
        socket.send('{"op": "decision", "record": {"verdict": "\\ud800"}}')
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CLOSE_REFUSED
        ask(admin, "o-2")
        assert reader.next("decision").data["record"]["verdict"] == "deny"


def test_an_event_that_cannot_be_written_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Where one is no text after all, the stream goes on with the next."""

    async def work(here: Served) -> None:
        feed = Feed(here.desk)
        texts = feed.texts()
        feed.outbox.push(event("decision", {"verdict": "\ud800"}))
        feed.outbox.push(event("decision", {"verdict": "deny"}))
        told = [await anext(texts) for _ in range(2)]
        assert told[1] == event("decision", {"verdict": "deny"}).encode()

    served(work)
    assert "left out" in caplog.text


def test_the_audit_log_is_streamed_from_a_number(replica: Replica, admin: httpx.Client) -> None:
    """Entries that are there come first, then each as it is made; numbers are ids."""
    first = asyncio.run(add_entries(replica, 3))
    with Reader(admin, "/v1/audit/stream", {"after": first}) as reader:
        assert [reader.next("entry").id for _ in range(2)] == [str(first + 1), str(first + 2)]
        asyncio.run(add_entries(replica, 1))
        assert reader.next("entry").data == {"made": "by a test"}


async def add_entries(replica: Replica, count: int) -> int:
    """Add entries to the audit log, and give the number of the first."""
    store = connect(replica.store, poll_interval=0.05)
    await store.open()
    try:
        first = number = len(await store.audit(limit=10_000)) + 1
        while number < first + count:
            try:
                await store.append_audit(number, '{"made": "by a test"}')
                number += 1
            except RevisionConflict:
                first, number = first + 1, number + 1
        return first
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/tap?filter=nonsense", 400),
        ("/v1/tap?verdict=perhaps", 422),
        ("/v1/audit/stream?after=x", 400),
        ("/v1/tap?namespace=*", 200),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_it_begins(admin: httpx.Client, path: str, status: int) -> None:
    """A bad filter or place is a problem, not a stream."""
    with admin.stream("GET", path) as response:
        assert response.status_code == status


def test_the_audit_log_is_for_those_who_may(viewer: httpx.Client) -> None:
    """A viewer has no business there."""
    assert viewer.get("/v1/audit/stream").status_code == 403


def open_streams(client: httpx.Client) -> int:
    """Give how many streams the replica says are open."""
    found = re.search(r"^mcp_sdk_streams_open (\S+)", client.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def test_leaving_frees_everything(viewer: httpx.Client, admin: httpx.Client) -> None:
    """A reader that goes is forgotten."""
    until(lambda: open_streams(admin) == 0)
    with Reader(viewer, "/v1/tap"), Reader(viewer, "/v1/snapshots/stream"):
        until(lambda: open_streams(admin) == 2)
    until(lambda: open_streams(admin) == 0)


def test_a_feed_ends_when_its_reader_may_no_longer_look(tmp_path: Path) -> None:
    """Revoking the token of somebody who looks on ends what it looks at, and frees its place."""
    with Replica(tmp_path) as replica, _as(replica, replica.token) as admin:
        made = admin.post("/v1/tokens", json={"name": "eye", "grants": [{"role": "viewer"}]}).json()
        with _as(replica, made["text"]) as eye, eye.stream("GET", "/v1/tap") as looking:
            lines = looking.iter_lines()
            assert next(lines) == ": welcome"
            assert admin.delete(f"/v1/tokens/{made['id']}").status_code == 204
            with suppress(httpx.RemoteProtocolError):
                for _ in lines:
                    pass
        until(lambda: open_streams(admin) == 0)


def _as(replica: Replica, token: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=replica.url, headers=headers, timeout=20, trust_env=False)
