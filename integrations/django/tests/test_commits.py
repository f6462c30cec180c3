"""Transitions wait for the outermost commit of the database that the row is in."""

from __future__ import annotations

import itertools
from decimal import Decimal
from functools import partial

import pytest
from django.db import connections, transaction
from djangoshop.models import Customer, Order
from mcp_sdk_django import TransactionCommits, get_mesh
from operating import stored_in

from mcp_sdk import current, model_context

numbers = (f"n-{count}" for count in itertools.count())


@model_context(model="order", state="paid")
def pay(order: Order) -> None:
    order.status = "paid"
    order.save()


@model_context(model="order", state="paid")
def pay_by_id(order_id: str) -> None:
    """Change nothing in the database."""


@pytest.fixture(autouse=True)
def mesh():
    with get_mesh() as mesh:
        yield mesh


@pytest.fixture
def stored(mesh):
    return partial(stored_in, mesh)


@pytest.fixture
def order():
    return Order.objects.create(number=next(numbers), amount=Decimal("99.50"))


def test_it_is_published_at_the_commit_and_not_before(order, stored):
    """The store learns of it when the outermost block ends, not an inner one."""
    with transaction.atomic():
        with transaction.atomic():
            pay(order)
        assert stored(order.number) is None
    assert stored(order.number).state == "paid"
    assert stored(order.number).attributes == {"amount": 9950}


def test_a_rollback_withdraws(order, stored, mesh):
    """What a rollback undid was never published, and calls no longer carry it."""
    with current.use(current.Record(mesh)) as work:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            pay(order)
            assert mesh.context("order").state == "paid"
            _ = 1 / 0
        assert work.pending == []
        assert mesh.context("order") is None
    assert stored(order.number) is None


def test_a_savepoint_takes_along_only_what_was_done_inside_it(order, stored):
    """Rolling back to a savepoint withdraws what was done inside it, in released savepoints too."""
    other = Order.objects.create(number=next(numbers))
    with transaction.atomic():
        pay(other)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            with transaction.atomic():
                pay(order)
            _ = 1 / 0
    assert stored(order.number) is None
    assert stored(other.number).state == "paid"


def test_a_block_that_is_marked_for_rollback_withdraws(order, stored):
    """``set_rollback`` ends the block without an exception, and without its transitions."""
    with transaction.atomic():
        pay(order)
        transaction.set_rollback(True)
    assert stored(order.number) is None


def test_an_inner_failure_without_a_savepoint_dooms_the_whole(order, stored):
    """``atomic(savepoint=False)`` that fails rolls everything back."""
    with transaction.atomic():
        pay(order)
        with pytest.raises(ZeroDivisionError), transaction.atomic(savepoint=False):
            _ = 1 / 0
    assert stored(order.number) is None


def test_outside_a_block_it_is_published_at_once(order, stored):
    """Django commits each statement by itself there."""
    pay(order)
    assert stored(order.number).state == "paid"


def test_by_id_the_default_database_is_waited_for(order, stored):
    """A method that was given an id waits for the block around it."""
    with transaction.atomic():
        pay_by_id(order.number)
        assert stored(order.number) is None
    assert stored(order.number).state == "paid"


def test_the_row_s_own_database_is_waited_for(stored):
    """A row of another database waits for that one, and not for the default's."""
    order = Order.objects.using("other").create(number=next(numbers))
    with transaction.atomic(using="other"):
        with transaction.atomic():
            pay(order)
        assert stored(order.number) is None
    assert stored(order.number).state == "paid"
    with transaction.atomic():
        again = Order.objects.using("other").create(number=next(numbers))
        pay(again)
        assert stored(again.number).state == "paid"


def test_by_id_another_database_in_a_block_is_waited_for(stored):
    """Where the default is in no block, the one that is counts."""
    number = next(numbers)
    with transaction.atomic(using="other"):
        pay_by_id(number)
        assert stored(number) is None
    assert stored(number).state == "paid"


def test_a_connection_that_is_closed_withdraws():
    """Closing the connection inside a block loses what waits."""
    settled = []
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert TransactionCommits().defer([], settled.append)
        connections["default"].close()
        _ = 1 / 0
    assert settled == [False]


def test_reading_a_row_never_queries(order, mesh):
    """A deferred field and an unfetched relation are not there; what was fetched is."""
    order.customer = Customer.objects.create(tier="vip")
    order.save()
    reads = []
    bare = Order.objects.only("number").get(number=order.number)
    joined = Order.objects.select_related("customer").get(number=order.number)
    with connections["default"].execute_wrapper(lambda *call: reads.append(call) or call[0](*call[1:])):
        assert mesh.models.read(mesh.models["order"], bare)[:3] == (order.number, None, {})
        found = mesh.models.read(mesh.models["order"], joined)
    assert (found.state, dict(found.attributes)) == ("created", {"amount": 9950, "tier": "vip"})
    assert reads == []
