"""What a remote plane gives for decisions: only what the server tells it of, however frames and answers interleave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from calling import call
from serving import Replica
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.ports import AppendStatus, Applied, Change, Cursor
from mcp_sdk.protocol.frames import frame
from mcp_sdk.protocol.plain import plain_change
from mcp_sdk.snapshot import PolicyRevision

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
Answering = Callable[[int], Sequence[str]]


def mesh(url: str, **settings: Any) -> Mesh:
    """Give a mesh on a server."""
    settings.setdefault("start_timeout", 20.0)
    return Mesh(Config(service="shop", linger=0.001, fetch_timeout=5.0, control_plane=url, **settings), models=[ORDER])


def status(of: Mesh, path: str = "/orders/o-1") -> int:
    """Ask an application behind the middleware."""
    of.declare_operations(["GET /orders/{order}"])
    return call(of, path).status_code


def move(plane: Mesh, state: str) -> None:
    """Move the order, and wait until that is stored."""
    plane.publish("order", "o-1", state=state)
    assert plane.control_plane.flush(10)


def test_who_only_published_an_entity_decides_by_what_others_made_of_it(replica: Replica) -> None:
    """An entity that was created here and moved elsewhere, while nobody told, is looked up and not remembered."""
    with mesh(replica.url, token=replica.token) as one, mesh(replica.url, token=replica.token) as other:
        one.control_plane.apply(PolicyRevision(0, {}, {"a.yaml": ACCESS})).result(20)
        move(one, "created")
        move(other, "paid")
        assert status(one) == 403
        move(other, "shipped")
        assert status(other) == 204


def test_what_was_published_is_still_what_the_next_move_stands_on(replica: Replica) -> None:
    """A move on top of an own one that somebody else overtook is refused by the store, though nobody told of it."""
    with mesh(replica.url, token=replica.token) as one, mesh(replica.url, token=replica.token) as other:
        move(one, "created")
        assert one.known(REF) is None
        other.control_plane.fetch([REF]).result(5)
        move(other, "paid")
        move(one, "shipped")
        held = other.control_plane.fetch([REF]).result(5)[REF]
        assert (held.state, held.revision) == ("paid", 2)
        moves = one.control_plane.history(REF).result(5)
        assert [applied.status for applied in moves].count(AppendStatus.LATE) == 1


def test_a_plane_without_its_server_goes_on_by_what_it_published(replica: Replica) -> None:
    """While the stream is away, the last that was known is given: an outage costs no request."""
    with mesh(replica.url, token=replica.token) as one:
        one.control_plane.apply(PolicyRevision(0, {}, {"a.yaml": ACCESS})).result(20)
        move(one, "paid")
        replica.kill()
        deadline = 200
        while one.known(REF) is None and (deadline := deadline - 1):
            threading.Event().wait(0.05)
        assert status(one) == 403


def stored(revision: int, state: str) -> ModelContext:
    """Give the order as a store holds it."""
    return ModelContext("order", "o-1", state, {}, revision)


def changed(revision: int, state: str) -> str:
    """Write the frame of a change."""
    applied = Applied(Transition("order", "o-1", state, f"e{revision}"), AppendStatus.APPLIED, stored(revision, state))
    return frame("change", **plain_change(Change("transition", Cursor(f"c{revision}"), Scope(), applied)))


def forgotten() -> str:
    """Write the frame of an entity that was erased."""
    return frame("change", **plain_change(Change("forgotten", Cursor("c9"), Scope(), ref=REF)))


def contexts(number: int, revision: int = 1, state: str = "created") -> str:
    """Write the answer to a look-up."""
    return frame("contexts", id=number, contexts=[stored(revision, state).to_dict()])


@contextmanager
def speaking(*answers: Answering) -> Iterator[Mesh]:
    """Give a mesh on a server that says ``answers`` to its look-ups, each as frames in one order."""
    left = list(answers)

    def handle(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            for text in socket:
                said = json.loads(text)
                if said["op"] == "hello":
                    socket.send(frame("welcome", protocol=1, cursor="c0", time=""))
                if said["op"] == "get":
                    for told in left.pop(0)(said["id"]):
                        socket.send(told)

    with serve(handle, "127.0.0.1", 0) as server:
        running = threading.Thread(target=server.serve_forever)
        running.start()
        try:
            port = server.socket.getsockname()[1]
            with Mesh(
                Config(service="shop", control_plane=f"http://127.0.0.1:{port}", start_timeout=0.1), models=[]
            ) as made:
                yield made
        finally:
            server.shutdown()
            running.join(10)


def looked_up(of: Mesh) -> ModelContext | None:
    """Look the order up, once the stream is there."""
    for _ in range(200):
        try:
            return of.control_plane.fetch([REF]).result(5).get(REF)
        except StoreUnavailable as error:
            if "not connected" not in str(error):
                raise
            threading.Event().wait(0.05)
    raise AssertionError("the stream did not come")


@pytest.mark.parametrize(
    "answering",
    [
        lambda number: [changed(2, "paid"), contexts(number)],
        lambda number: [contexts(number), changed(2, "paid")],
        lambda number: [changed(2, "paid"), contexts(number), changed(1, "created")],
    ],
)
def test_a_change_that_was_told_while_the_answer_was_on_its_way_is_not_lost(answering: Answering) -> None:
    """A change that comes right before or after the answer to a look-up counts, for it is told only once."""
    with speaking(answering) as one:
        looked_up(one)
        for _ in range(100):
            known = one.known(REF)
            if known is not None and known.revision == 2:
                break
            threading.Event().wait(0.02)
        assert known is not None
        assert (known.state, known.revision) == ("paid", 2)


@pytest.mark.parametrize(
    "answering",
    [
        lambda number: [forgotten(), contexts(number)],
        lambda number: [frame("dropped", refs=[list(REF)]), contexts(number)],
        lambda number: [contexts(number), frame("dropped", refs=[list(REF)])],
        lambda number: [contexts(number), forgotten()],
        lambda number: [contexts(number), frame("resync", cursor="c5")],
    ],
)
def test_what_is_told_of_no_longer_is_not_given(answering: Answering) -> None:
    """An entity that was erased, or is held no longer, is looked up again rather than remembered."""
    with speaking(answering, lambda number: [contexts(number, 3, "shipped")]) as one:
        looked_up(one)
        for _ in range(100):
            if one.known(REF) is None:
                break
            threading.Event().wait(0.02)
        assert one.known(REF) is None
        again = looked_up(one)
        assert again is not None
        assert again.state == "shipped"


def test_a_look_up_whose_answer_gave_way_to_a_resync_does_not_wait_for_ever() -> None:
    """A server that had too much to say dropped the answer too: who asked hears so, and may ask again."""
    with speaking(lambda _: [frame("resync", cursor="c5")], lambda number: [contexts(number, 3, "shipped")]) as one:
        with pytest.raises(StoreUnavailable, match="ask again"):
            looked_up(one)
        again = looked_up(one)
        assert again is not None
        assert again.state == "shipped"
