"""Transitions and the database transaction around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fakes import FakePlane, FakeTransaction
from shop import Order, OrderState

from mcp_sdk import Mesh, current, model_context
from mcp_sdk.testing import RecordingMesh


@pytest.fixture
def transaction(shop: Mesh) -> FakeTransaction:
    """An open database transaction that ``shop`` knows about."""
    port = FakeTransaction()
    port.open = True
    shop.on_commit(port)
    return port


@model_context(model="order", state="paid")
def pay(order: Order) -> None:
    """Pay."""


@model_context(model="order", state="shipped")
def ship(order: Order) -> None:
    """Ship."""


def states(plane: FakePlane) -> list[tuple[str, str | None, str | None]]:
    """Give what was published."""
    return [(event.entity_id, event.from_state, event.to_state) for event in plane.published]


def test_a_transition_waits_for_the_commit(shop: RecordingMesh, plane: FakePlane, transaction: FakeTransaction) -> None:
    """Inside a transaction nothing is published; it waits in the request's record."""
    with current.use(current.Record(shop)) as work:
        order = Order("o-1")
        pay(order)
        assert (states(plane), [event.to_state for event in work.pending]) == ([], ["paid"])
        assert shop.captured.pending == work.pending
        transaction.end(commit=True)
        assert (states(plane), work.pending) == ([("o-1", "created", "paid")], [])
    assert transaction.subjects == [order]


def test_a_rollback_drops_and_restores(shop: Mesh, plane: FakePlane, transaction: FakeTransaction) -> None:
    """What is rolled back was never: it is counted, and the work carries what the store has."""
    plane.hold("order", "o-1", "created", 7)
    with current.use(current.Record(shop)) as work:
        shop.bind("order", "o-1")
        pay(Order("o-1"))
        assert work.contexts["order"].state == "paid"
        transaction.end(commit=False)
        assert (work.contexts["order"], work.pending, states(plane)) == (plane.held["order", "o-1"], [], [])  # type: ignore[index]
    assert shop.telemetry.drops.read() == {("transaction", "rolled_back"): 1}


def test_a_rollback_leaves_another_entity_alone(shop: Mesh, plane: FakePlane, transaction: FakeTransaction) -> None:
    """A work that is about another order goes on carrying it."""
    with current.use(current.Record(shop)) as work:
        shop.bind(Order("o-2"))
        pay(Order("o-1"))
        transaction.end(commit=False)
        assert work.contexts["order"].entity_id == "o-2"


@pytest.mark.parametrize("inside", [True, False])
def test_later_moves_of_a_transaction_build_on_earlier_ones(
    inside: bool, shop: Mesh, plane: FakePlane, transaction: FakeTransaction
) -> None:
    """Within a transaction each move starts from the last one, whether or not a request is around."""
    for number in ("o-1", "o-2"):
        plane.hold("order", number, "created", 7)

    def work() -> None:
        for step in (pay, ship):
            for number in ("o-1", "o-2"):
                step(Order(number))
        shop.publish("order", "o-1", state=OrderState.FAILED)

    if inside:
        with current.use(current.Record(shop)):
            work()
    else:
        work()
    transaction.end(commit=True)
    moves = [
        ("o-1", "created", "paid"),
        ("o-2", "created", "paid"),
        ("o-1", "paid", "shipped"),
        ("o-2", "paid", "shipped"),
    ]
    assert states(plane) == [*moves, ("o-1", "shipped", "failed")]
    assert [event.base_revision for event in plane.published] == [7, 7, None, None, None]
    assert current.Record(shop).pending == []


def test_outside_a_transaction_nothing_waits(shop: Mesh, plane: FakePlane, transaction: FakeTransaction) -> None:
    """A port that says no is as good as none."""
    transaction.open = False
    pay(Order("o-1"))
    assert states(plane) == [("o-1", "created", "paid")]


def test_aborted_calls_do_not_wait(shop: Mesh, plane: FakePlane, transaction: FakeTransaction) -> None:
    """That a call failed is known at once: its transaction rolls back."""

    @model_context(model="order", state="paid")
    def fail(order: Order) -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail(Order("o-1"))
    transaction.end(commit=False)
    assert [(event.to_state, event.outcome.value) for event in plane.published] == [("paid", "aborted")]
    assert shop.telemetry.drops.read() == {}


def test_a_port_that_settles_twice_publishes_once(shop: Mesh, plane: FakePlane) -> None:
    """The first word of a transaction counts."""

    class Eager:
        def defer(self, subjects: Sequence[object], settle: Any) -> bool:
            self.settle = settle
            return True

    port = Eager()
    shop.on_commit(port)
    pay(Order("o-1"))
    port.settle(True)
    port.settle(True)
    port.settle(False)
    assert states(plane) == [("o-1", "created", "paid")]


def test_a_broken_port_breaks_nothing(shop: Mesh, plane: FakePlane) -> None:
    """What an integration raises is counted, and the call succeeds."""

    class Broken:
        def defer(self, subjects: Sequence[object], settle: Any) -> bool:
            raise RuntimeError

    shop.on_commit(Broken())
    pay(Order("o-1"))
    assert shop.telemetry.drops.read() == {("publish", "internal_error"): 1}


def test_a_plane_that_breaks_at_the_commit_breaks_nothing(
    shop: Mesh, plane: FakePlane, transaction: FakeTransaction
) -> None:
    """Settling is called from inside the database library: it never raises."""
    pay(Order("o-1"))
    plane.broken = True
    transaction.end(commit=True)
    assert shop.telemetry.drops.read() == {("publish", "internal_error"): 1}


def test_a_batch_waits_and_goes_as_one(shop: Mesh, plane: FakePlane, transaction: FakeTransaction) -> None:
    """Stacked moves keep their batch id across the commit."""

    @model_context(model="parcel", state="packed", id="number")
    @model_context(model="order", state="paid", id="number")
    def pack(number: str) -> None: ...

    shop.model(type("Parcel", (), {}), name="parcel")
    pack("o-1")
    transaction.end(commit=True)
    assert len({event.batch_id for event in plane.published}) == 1
    assert [event.model for event in plane.published] == ["parcel", "order"]
