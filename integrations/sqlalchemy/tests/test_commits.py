"""Transitions wait for the outermost commit of a session."""

from __future__ import annotations

import contextvars
import gc
import weakref
from decimal import Decimal
from threading import Thread

import pytest
from mcp_sdk_sqlalchemy import SessionCommits, install
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from mcp_sdk import current


def test_a_transition_is_published_at_the_commit_and_not_before(session, shop, stored):
    """Until the session commits, the store knows nothing of what a method did."""
    shop.pay(session.get(shop.Order, "o-1"))
    assert stored() is None
    session.commit()
    assert stored().state == "paid"
    assert stored().attributes == {"amount": 9950}


def test_a_rollback_withdraws(session, shop, stored, mesh, work):
    """What a rollback undid was never published, and calls no longer carry it."""
    shop.pay(session.get(shop.Order, "o-1"))
    assert mesh.context("order").state == "paid"
    session.rollback()
    assert mesh.context("order") is None
    assert work.pending == []
    assert stored() is None


def test_an_exception_inside_the_block_withdraws(engine, shop, stored):
    """``with session.begin()`` rolls back when the block raises."""
    with pytest.raises(ZeroDivisionError), Session(engine) as session, session.begin():
        shop.pay(session.get(shop.Order, "o-1"))
        _ = 1 / 0
    assert stored() is None


def test_a_released_savepoint_is_no_commit(session, shop, stored):
    """Only the outermost commit publishes what was done inside a savepoint."""
    with session.begin():
        with session.begin_nested():
            shop.pay(session.get(shop.Order, "o-1"))
        assert stored() is None
    assert stored().state == "paid"


def test_a_savepoint_takes_along_only_what_was_done_inside_it(session, shop, stored):
    """Rolling back to a savepoint withdraws its transitions, in released savepoints too, and leaves the others."""
    with session.begin():
        shop.pay(session.get(shop.Order, "o-2"))
        outer = session.begin_nested()
        with session.begin_nested():
            shop.pay(session.get(shop.Order, "o-1"))
        outer.rollback()
    assert stored("o-1") is None
    assert stored("o-2").state == "paid"


def test_work_after_a_rolled_back_savepoint_is_published(session, shop, stored):
    """A transition made after the savepoint is the outer transaction's."""
    with session.begin():
        session.begin_nested().rollback()
        shop.pay(session.get(shop.Order, "o-1"))
    assert stored().state == "paid"


def test_a_commit_that_fails_withdraws(session, shop, stored):
    """A flush that the database refuses inside the commit rolls back."""
    shop.pay(session.get(shop.Order, "o-1"))
    session.add(shop.Order(number="o-2", status=shop.Status.CREATED, amount=Decimal(1)))
    with pytest.raises(IntegrityError):
        session.commit()
    session.close()
    assert stored() is None


def test_a_session_can_be_used_again_after_a_rollback(session, shop, stored):
    """The next transaction of a session has nothing of the last one."""
    shop.pay(session.get(shop.Order, "o-1"))
    session.rollback()
    shop.pay(session.get(shop.Order, "o-2"))
    session.commit()
    assert (stored("o-1"), stored("o-2").state) == (None, "paid")


def test_closing_without_a_commit_withdraws_what_was_written(engine, shop, stored):
    """A session that is closed with changes in it loses them."""
    with Session(engine) as session:
        shop.pay(session.get(shop.Order, "o-1"))
    assert stored() is None


@pytest.mark.parametrize("flushed", [True, False])
def test_closing_withdraws_statements_too(engine, shop, stored, flushed):
    """Statements that the session executed count as written, whether ORM or text."""
    with Session(engine) as session:
        session.execute(update(shop.Order).values(amount=2) if flushed else text("UPDATE orders SET amount = 2"))
        shop.pay_by_id("o-1")
    assert stored() is None


def test_a_session_that_only_read_has_nothing_to_roll_back(engine, shop, stored):
    """The transition of a method that wrote nothing is published when the reading session is closed."""
    with Session(engine) as session:
        session.get(shop.Order, "o-1")
        shop.pay_by_id("o-1")
        assert stored() is None
    assert stored().state == "paid"


def test_outside_a_transaction_it_is_published_at_once(mesh, shop, stored):
    """Without a session there is nothing to wait for."""
    shop.pay_by_id("o-1")
    assert stored().state == "paid"


def test_by_id_it_waits_for_the_session_of_this_context(session, shop, stored):
    """A method that was given an id waits for the session that began last around it."""
    with session.begin():
        session.get(shop.Order, "o-2")
        shop.pay_by_id("o-1")
        assert stored() is None
    assert stored().state == "paid"


def test_by_id_it_waits_for_the_innermost_open_session(engine, shop, stored):
    """Of two open sessions the one that began last is waited for."""
    with Session(engine) as outer, Session(engine) as inner:
        outer.get(shop.Order, "o-2")
        inner.get(shop.Order, "o-2")
        shop.pay_by_id("o-1")
        outer.rollback()
        assert stored() is None
        inner.commit()
    assert stored().state == "paid"


def test_a_session_that_began_elsewhere_in_the_request_counts(mesh, engine, shop, stored):
    """A framework may begin the session in a thread with a copy of the context; the request is the same."""
    with current.use(current.Record(mesh)), Session(engine) as session:
        _in_thread(contextvars.copy_context().run, session.get, shop.Order, "o-2")
        shop.pay_by_id("o-1")
        assert stored() is None
        session.rollback()
    assert stored() is None


def test_a_session_of_another_request_is_not_waited_for(mesh, engine, shop, stored):
    """Work without a session is not held up by what others have open."""
    with Session(engine) as session:
        _in_thread(session.get, shop.Order, "o-2")
        with current.use(current.Record(mesh)):
            shop.pay_by_id("o-1")
        assert stored().state == "paid"


def test_objects_of_two_sessions_wait_for_both(engine, shop, stored, mesh):
    """One batch over two sessions is published when the second has committed."""
    port = mesh.transaction_ports[0]
    settled: list[bool] = []
    with Session(engine) as one, Session(engine) as two:
        assert port.defer([one.get(shop.Order, "o-1"), two.get(shop.Order, "o-2")], settled.append)
        one.commit()
        assert settled == []
        two.commit()
    assert settled == [True]


def test_one_rollback_of_two_sessions_withdraws(engine, shop, mesh):
    """One batch over two sessions is withdrawn by the first rollback."""
    port = mesh.transaction_ports[0]
    settled: list[bool] = []
    with Session(engine) as one, Session(engine) as two:
        assert port.defer([one.get(shop.Order, "o-1"), two.get(shop.Order, "o-2")], settled.append)
        one.rollback()
        assert settled == [False]
        two.commit()
    assert settled[0] is False


def test_a_dropped_session_is_collected(engine, shop, mesh, work, stored):
    """A session that is dropped unclosed keeps nothing alive, and its transitions are withdrawn."""
    session = Session(engine)
    shop.pay(session.get(shop.Order, "o-1"))
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    assert engine.pool.checkedout() == 0
    shop.pay_by_id("o-2")
    assert work.pending == []
    assert (stored("o-1"), stored("o-2").state) == (None, "paid")


def test_it_can_be_narrowed_to_some_sessions(mesh, engine, shop):
    """A port that listens to one sessionmaker does not wait for other sessions."""
    mine = sessionmaker(engine)
    port = SessionCommits(mine)
    with Session(engine) as other, mine() as session:
        assert not port.defer([other.get(shop.Order, "o-1")], print)
        assert port.defer([session.get(shop.Order, "o-1")], lambda committed: None)
    port.close()


def test_closing_the_port_ends_it(engine, shop, stored, mesh):
    """After ``close`` nothing waits any more."""
    other = install(mesh)
    other.close()
    mesh.transaction_ports[0].close()
    with Session(engine) as session:
        shop.pay(session.get(shop.Order, "o-1"))
        assert stored().state == "paid"


def _in_thread(function, *args):
    thread = Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_a_failing_statement_inside_a_savepoint_withdraws_only_that(session, shop, stored):
    """An error that a savepoint absorbs leaves what the outer transaction did."""
    with session.begin():
        shop.pay(session.get(shop.Order, "o-2"))
        with pytest.raises(IntegrityError), session.begin_nested():
            shop.pay(session.get(shop.Order, "o-1"))
            session.execute(text("INSERT INTO orders VALUES ('o-1', 'PAID', 1)"))
    assert (stored("o-1"), stored("o-2").state) == (None, "paid")
