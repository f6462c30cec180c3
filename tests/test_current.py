"""The record of the work at hand."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes import FakePlane

from mcp_sdk import Mesh, carried, current, model_context
from mcp_sdk.context import ModelContext
from mcp_sdk.current import Record
from mcp_sdk.decisions import ANONYMOUS, Decision, Principal


def order(entity_id: str, state: str = "created", **fields: Any) -> ModelContext:
    """Give the context of an order."""
    return ModelContext("order", entity_id, state, **fields)


def test_a_fork_sees_all_and_keeps_its_own() -> None:
    """What a fork puts stays there until it is merged; what the middleware learned is shared."""
    outer = Record()
    outer.put(order("o-1"))
    inner = outer.fork()
    inner.put(order("o-1", "paid"))
    inner.call.principal = Principal("alice")
    assert (outer.contexts["order"].state, outer.call.principal.id) == ("created", "alice")
    outer.merge(inner)
    assert outer.contexts["order"].state == "paid"


@pytest.mark.parametrize(
    ("held", "learned", "own", "expected"),
    [
        (None, "o-1", (), "o-1"),
        ("o-1", "o-1", (), "o-1"),
        ("o-1", "o-2", (), "o-1"),
        ("", "o-2", (), "o-2"),
        ("", "o-2", ("order",), ""),
    ],
)
def test_what_a_merge_takes_over(held: str | None, learned: str, own: tuple[str, ...], expected: str) -> None:
    """The entity that the work is about, the id that it was given, or one of a model it knew nothing of."""
    outer = Record()
    if held is not None:
        outer.put(order(held))
    inner = outer.fork()
    inner.put(order(learned, "paid"))
    outer.merge(inner, own=own)
    assert outer.contexts["order"].entity_id == expected


def test_a_merge_settles_what_moved() -> None:
    """What a running call starts from follows the move that happened inside."""
    outer = Record()
    outer.put(order("o-1", "shipped", tentative=True))
    outer.settled["order"] = order("o-1", "created")
    inner = outer.fork()
    inner.move(order("o-1", "paid"))
    outer.merge(inner)
    assert (outer.settled["order"].state, outer.moved) == ("paid", {order("o-1").ref})


def test_restore_puts_back_or_forgets() -> None:
    """None is what there was."""
    work = Record()
    work.put(order("o-1"))
    work.restore("order", order("o-2"))
    assert work.contexts["order"].entity_id == "o-2"
    work.restore("order", None)
    work.restore("user", None)
    assert work.view() == {}


def test_a_record_begins_with_an_anonymous_caller() -> None:
    """Until the middleware knows better."""
    assert Record().call.principal is ANONYMOUS


def test_use_and_activate_put_back() -> None:
    """Whatever was there before is there again."""
    current.forget()
    outer, inner = Record(), Record()
    with current.use(outer):
        assert current.activate(inner) is outer
        assert current.record() is inner
        current.set_record(outer)
    assert current.record() is None


def test_a_record_is_begun_where_there_is_none(shop: Mesh) -> None:
    """Once: the next one to ask gets the same."""
    begun = current.record_or_new(shop)
    assert begun.mesh is shop
    assert current.record_or_new() is begun


def test_the_mesh_started_last_is_the_one(plane: FakePlane) -> None:
    """Decorators outside any request use it, until it is closed."""
    before = current.installed()
    with Mesh(service="one", control_plane=plane) as one:
        with Mesh(service="two", control_plane=plane) as two:
            assert current.installed() is two
        assert current.installed() is one
        one.start()
    assert current.installed() is before


@model_context(model="order", state="paid")
def in_a_call(work: Any, order_number: str) -> Any:
    """Run something inside a captured call."""
    return work()


def state(mesh: Mesh) -> str | None:
    """Give the state that is carried."""
    context = mesh.context("order")
    return None if context is None else context.state


def test_threads_take_the_record_along_when_told(shop: Mesh) -> None:
    """A thread starts without; ``carried`` takes it along, as often as it is called."""
    seen: list[Any] = []

    def work() -> None:
        for target in (lambda: seen.append(state(shop)), carried(lambda: seen.append(state(shop)))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    in_a_call(work, "o-1")
    assert seen == [None, "paid"]


def test_executors_take_the_record_along_when_told(shop: Mesh) -> None:
    """``pool.submit(carried(work))``, also when workers run at once."""
    with ThreadPoolExecutor(4) as pool:

        def work() -> list[Any]:
            function = carried(lambda _: state(shop))
            return list(pool.map(function, range(20)))

        assert in_a_call(work, "o-1") == ["paid"] * 20
        assert pool.submit(state, shop).result() is None


def test_tasks_and_to_thread_take_the_record_along(shop: Mesh) -> None:
    """The loop copies the context by itself."""

    @model_context(model="order", state="paid")
    async def pay(order_number: str) -> list[Any]:
        return [await asyncio.to_thread(state, shop), await asyncio.create_task(later())]

    async def later() -> str | None:
        return state(shop)

    assert asyncio.run(pay("o-1")) == ["paid", "paid"]


def test_carried_keeps_the_function_s_name_and_result() -> None:
    """It is the function, bound to a record."""

    def work(one: int, *, two: int) -> int:
        return one + two

    assert carried(work)(1, two=2) == 3
    assert carried(work).__name__ == "work"


def test_run_puts_back_what_was_there_before(shop: Mesh) -> None:
    """Whatever the function does, and in whichever context each step runs."""
    work = Record(shop)
    with current.use(Record()) as outer:
        assert current.run(work, current.record) is work
        with pytest.raises(ZeroDivisionError):
            current.run(work, lambda: 1 // 0)
        assert current.record() is outer


def test_what_was_decided_and_who_calls_are_at_hand() -> None:
    """Outside any request there is no decision, and nobody."""
    assert (current.decision(), current.principal()) == (None, ANONYMOUS)
    with current.use(Record()) as work:
        work.call.decision, work.call.principal = Decision(), Principal("alice", authenticated=True)
        assert (current.decision(), current.principal()) == (Decision(), work.call.principal)
