"""Rows are read from what is loaded."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import Session, defer

from mcp_sdk import model_context


def test_states_and_types_come_from_the_mapping(mesh):
    """``Mapped[Status]`` gives the states and ``Mapped[Decimal]`` the attribute's type."""
    model = mesh.models["order"]
    assert model.states == ("created", "paid", "shipped")
    assert model.attributes["amount"].type == "decimal"


def test_a_method_that_commits_is_published_with_its_attributes(session, shop, stored, statements):
    """After the method's own commit the row has expired; it is neither loaded again nor read as empty."""

    @model_context(model="order", state="created")
    def create(number):
        order = shop.Order(number=number, status=shop.Status.CREATED, amount=Decimal("5.25"))
        session.add(order)
        session.commit()
        return order

    @model_context(model="order", state="paid")
    def pay(order):
        order.status = shop.Status.PAID
        session.commit()

    order = create("o-9")
    pay(order)
    assert stored("o-9").state == "paid"
    assert stored("o-9").attributes == {"amount": 525}
    assert [sql for sql in statements if "o-9" in sql] == []
    assert not session.in_transaction()


def test_an_observer_sees_what_was_committed(session, shop, stored):
    """What an observed method changed and committed is published, though the row has expired since."""

    def change(order):
        order.status = shop.Status.SHIPPED
        order.amount = Decimal(7)
        session.commit()

    shop.observe(session.get(shop.Order, "o-1"), change)
    assert (stored().state, stored().attributes) == ("shipped", {"amount": 700})


def test_binding_an_expired_row_loads_nothing(mesh, work, session, shop, statements):
    """``mesh.bind`` after a commit knows the row as it was committed."""
    order = session.get(shop.Order, "o-1")
    session.commit()
    del statements[:]
    context = mesh.bind(order)
    assert (context.entity_id, context.state, context.attributes) == ("o-1", "created", {"amount": 9950})
    assert statements == []


def test_a_row_that_expired_by_hand_still_has_its_id(mesh, work, session, shop, statements):
    """Of a row that was never committed here the primary key is known, and the rest is not."""
    order = session.get(shop.Order, "o-1")
    session.expire(order)
    del statements[:]
    context = mesh.bind(order)
    assert (context.entity_id, context.state, dict(context.attributes)) == ("o-1", None, {})
    assert statements == []


def test_a_deferred_column_is_not_loaded(mesh, work, session, shop, statements):
    """What a query left out stays out."""
    order = session.get(shop.Order, "o-1", options=[defer(shop.Order.amount)])
    del statements[:]
    assert dict(mesh.bind(order).attributes) == {}
    assert statements == []


def test_other_objects_are_read_as_ever(mesh):
    """A mapping or a plain object is not SQLAlchemy's business."""
    read = mesh.models.member
    assert read({"number": "o-1"}, "number") == "o-1"
    assert read(Decimal(1), "real") == 1
    assert read(object(), "number") is None


@pytest.mark.parametrize("expire", [True, False])
def test_sessions_that_do_not_expire_work_alike(engine, shop, stored, expire):
    """``expire_on_commit`` changes nothing of what is published."""
    with Session(engine, expire_on_commit=expire) as session:

        def change(order):
            order.status = shop.Status.PAID
            session.commit()

        shop.observe(session.get(shop.Order, "o-1"), change)
    assert stored().state == "paid"


def test_a_row_stays_picklable(mesh, session, shop):
    """What is kept with a row does not go where the row is copied."""
    order = session.get(shop.Order, "o-1")
    session.commit()
    session.refresh(order)
    session.expunge(order)
    assert pickle.loads(pickle.dumps(inspect(order).__getstate__()))["class_"] is shop.Order
