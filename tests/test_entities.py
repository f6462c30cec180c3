"""Entities changed by hand."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from decimal import Decimal
from typing import Any

import pytest
from fakes import FakePlane
from shop import Order, OrderState

from mcp_sdk import EntityRef, InvalidTransition, Mesh, ModelError, current
from mcp_sdk.exceptions import UnknownModel, UnknownState
from mcp_sdk.models import BusinessModel

STRICT = BusinessModel("order", states=OrderState, transitions={"created": ["paid"]}, enforce=True)


def test_an_entity_is_bound_inside_the_block(shop: Mesh, plane: FakePlane) -> None:
    """Inside ``with`` the work is about the entity, on the revision that the store has; outside it is not."""
    plane.hold("order", "o-1", "created", 7)
    with shop.entity("order", "o-1") as order:
        assert shop.context("order") == order.context == plane.held[EntityRef("order", "o-1")]
        moved = order.to("paid", amount=Decimal(20))
        assert (moved.context.state, moved.context.revision, moved.context.tentative) == ("paid", 7, True)
        assert order.context.state == "paid"
        assert shop.contexts()["order"].state == "paid"
    assert shop.context("order") is None
    (event,) = plane.published
    assert (event.from_state, event.to_state, event.base_revision) == ("created", "paid", 7)
    assert event.attributes == {"amount": 2000}


def test_both_colours_do_the_same(shop: Mesh, plane: FakePlane) -> None:
    """``async with`` and ``await order.to(…)`` are the same entity."""
    plane.hold("order", "o-1", "created", 7)

    async def main() -> None:
        async with shop.entity("order", "o-1") as order:
            context = await order.to(OrderState.PAID)
            assert context.state == "paid"
            assert (await order.to(amount=Decimal(1))).state == "paid"

    asyncio.run(main())
    assert [(event.from_state, event.to_state) for event in plane.published] == [("created", "paid"), ("paid", None)]
    assert plane.held[EntityRef("order", "o-1")].revision == 9


def test_moves_are_enforced_where_the_model_says_so(make_mesh: Any, plane: FakePlane) -> None:
    """A forbidden move by hand raises, and publishes nothing."""
    mesh = make_mesh(STRICT)
    plane.hold("order", "o-1", "created", 7)
    with mesh.entity("order", "o-1") as order, pytest.raises(InvalidTransition, match="allows: paid"):
        order.to("shipped")
    with pytest.raises(InvalidTransition):
        mesh.publish("order", "o-1", state="shipped")
    assert plane.published == []


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda mesh: mesh.entity("ordr", "o-1"), UnknownModel),
        (lambda mesh: mesh.publish("order", "o-1", state="payed"), UnknownState),
        (lambda mesh: mesh.publish("order", "o-1", amont=3), ModelError),
        (lambda mesh: mesh.publish("order", "o-1", amount="much"), ModelError),
        (lambda mesh: mesh.bind("ordr", "o-1"), UnknownModel),
        (lambda mesh: mesh.bind(object()), ModelError),
        (lambda mesh: mesh.bind("order", "o-1", amont=3), ModelError),
    ],
)
def test_a_wrong_name_is_an_error_where_it_stands(attempt: Any, error: type[Exception], shop: Mesh) -> None:
    """What a person writes wrong is said at once; values that a person did not write never raise in ``bind``."""
    with pytest.raises(error):
        attempt(shop)


def test_bind_leaves_out_a_value_that_does_not_fit(shop: Mesh) -> None:
    """``bind`` stands inside business methods: data may be wrong there, and breaks nothing."""
    assert shop.bind("order", "o-1", amount="much").attributes == {}
    assert shop.telemetry.drops.read() == {("capture", "attribute"): 1}


def test_bind_carries_a_known_entity(shop: Mesh, plane: FakePlane) -> None:
    """An entity that is bound comes with what the store has of it."""
    plane.hold("order", "o-1", "shipped", 7)
    with current.use(current.Record(shop)):
        assert shop.bind("order", "o-1").revision == 7
        assert shop.context("order") == plane.held[EntityRef("order", "o-1")]


def test_bind_of_an_object_shows_what_it_says(shop: Mesh, plane: FakePlane) -> None:
    """A state that differs from the stored one is a change that is not stored yet."""
    plane.hold("order", "o-1", "created", 7)
    context = shop.bind(Order("o-1", OrderState.PAID))
    assert (context.state, context.tentative, context.attributes) == ("paid", True, {"amount": 1250})


def test_contexts_is_a_view_of_its_moment(shop: Mesh) -> None:
    """What is bound later does not show in it."""
    with current.use(current.Record(shop)):
        before = shop.contexts()
        shop.bind("order", "o-1")
        assert (dict(before), list(shop.contexts())) == ({}, ["order"])


def test_outside_any_work_there_is_no_context(shop: Mesh) -> None:
    """Nothing is carried where nothing was begun."""
    assert shop.context("order") is None
    assert shop.contexts() == {}


def test_publish_moves_an_entity_that_the_work_is_about(shop: Mesh, plane: FakePlane) -> None:
    """Read your own writes: the request carries the new state, of its own entity only."""
    with current.use(current.Record(shop)):
        shop.bind("order", "o-1")
        shop.publish("order", "o-2", state="shipped")
        shop.publish("order", "o-1", state="paid")
        context = shop.context("order")
        assert context is not None
        assert (context.entity_id, context.state) == ("o-1", "paid")


class Silent(FakePlane):
    """A plane whose store does not answer."""

    def fetch(self, refs: Any) -> Future[Any]:
        """Never."""
        return Future()


def test_a_store_that_does_not_answer_leaves_the_revision_unknown(make_mesh: Any) -> None:
    """Entering waits ``start_timeout`` at most, in both colours, and goes on."""
    from mcp_sdk.testing import recording_mesh  # noqa: PLC0415

    plane = Silent()
    with recording_mesh(control_plane=plane, start_timeout=0.01) as mesh:
        with mesh.entity("order", "o-1") as order:
            order.to("paid")

        async def main() -> None:
            async with mesh.entity("order", "o-2") as order:
                await order.to("paid")

        asyncio.run(main())
    assert [event.base_revision for event in plane.published] == [None, None]
    assert mesh.telemetry.drops.read() == {("entity", "internal_error"): 2}
