"""The decorators: what is published, what calls carry meanwhile, and what never breaks."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from fakes import FakePlane
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shop import Order, OrderState

from mcp_sdk import (
    BusinessModel,
    EntityRef,
    InvalidTransition,
    Mesh,
    ModelError,
    Outcome,
    Transition,
    capture,
    context_observer,
    current,
    model_context,
)
from mcp_sdk.exceptions import UnknownModel, UnknownState
from mcp_sdk.testing import RecordingMesh

MakeMesh = Callable[..., RecordingMesh]
ORDER = BusinessModel("order", key="number", state="status", states=OrderState, attributes={"amount": "decimal"})


def moves(plane: FakePlane) -> list[tuple[str, str | None, str | None, str]]:
    """Give what was published: id, from, to, outcome."""
    return [(event.entity_id, event.from_state, event.to_state, event.outcome.value) for event in plane.published]


def seen(mesh: Mesh) -> tuple[str | None, bool] | None:
    """Give the state that calls made now would carry, and whether it is tentative."""
    context = mesh.context("order")
    return None if context is None else (context.state, context.tentative)


class Failure(Exception):
    """Business that went wrong."""


# How a decorator is written


@pytest.mark.parametrize(
    "decorate",
    [
        model_context("order", state="paid"),
        model_context(model="order", state="paid"),
        model_context(model="order", state=OrderState.PAID),
        model_context(Order, state="paid"),
        model_context(model=Order, state=OrderState.PAID),
        model_context(OrderState.PAID),
        model_context(model=OrderState.PAID),
        model_context(state=OrderState.PAID),
        model_context(OrderState, state="paid"),
    ],
)
def test_a_model_is_named_in_every_way(decorate: Any, shop: Mesh, plane: FakePlane) -> None:
    """A name, a class, an Enum and a member of it name the same model."""

    @decorate
    def pay(order: Order) -> None: ...

    pay(Order("o-1"))
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


@pytest.mark.parametrize("decorate", [model_context, model_context(), context_observer, context_observer()])
def test_a_bare_decorator_publishes_what_changed(decorate: Any, shop: Mesh, plane: FakePlane) -> None:
    """Without a model every argument of a declared class is looked at, and what changed on it is published."""

    @decorate
    def update(note: str, order: Order) -> None:
        order.status, order.amount = OrderState.PAID, Decimal(20)

    update("x", order=Order("o-1"))
    assert moves(plane) == [("o-1", "created", "paid", "committed")]
    assert plane.published[0].attributes == {"amount": 2000}


def test_nothing_is_published_when_nothing_changed(shop: Mesh, plane: FakePlane) -> None:
    """An observer of a method that changes nothing is silent, whatever is known of the entity."""
    plane.hold("order", "o-1", "shipped", 7)

    @context_observer
    def look(order: Order) -> None: ...

    look(Order("o-1"))
    assert moves(plane) == []


def test_a_stale_object_moves_nothing_back(shop: Mesh, plane: FakePlane) -> None:
    """An object that was loaded before a newer change publishes only what changed on it during the call."""
    plane.hold("order", "o-1", "shipped", 7, amount=1250)

    @model_context(model="order")
    def reprice(order: Order) -> None:
        order.amount = Decimal(30)

    reprice(Order("o-1"))
    (event,) = plane.published
    assert (event.to_state, event.attributes, event.base_revision) == (None, {"amount": 3000}, 7)


def test_the_first_news_of_an_entity_is_whole(shop: Mesh, plane: FakePlane) -> None:
    """Of an entity that the mesh knows nothing of, state and attributes are published together."""

    @context_observer
    def reprice(order: Order) -> None:
        order.amount = Decimal(30)

    reprice(Order("o-1"))
    assert moves(plane) == [("o-1", "created", "created", "committed")]
    assert plane.published[0].attributes == {"amount": 3000}


class Desk:
    """Methods of every kind, in both orders of decorators."""

    @model_context(model="order", state="paid")
    def method(self, order: Order) -> str:
        return "method"

    @staticmethod
    @model_context(model="order", state="paid")
    def static_inside(order: Order) -> str:
        return "static"

    @model_context(model="order", state="paid")
    @staticmethod
    def static_outside(order: Order) -> str:
        return "static"

    @classmethod
    @model_context(model="order", state="paid")
    def class_inside(cls, order: Order) -> str:
        return cls.__name__

    @model_context(model="order", state="paid")
    @classmethod
    def class_outside(cls, order: Order) -> str:
        return cls.__name__


@pytest.mark.parametrize("name", ["method", "static_inside", "static_outside", "class_inside", "class_outside"])
@pytest.mark.parametrize("owner", [Desk, Desk()])
def test_methods_of_every_kind(name: str, owner: Any, shop: Mesh, plane: FakePlane) -> None:
    """Methods, static and class methods are captured in both orders of decorators, from class and object."""
    args = (Desk(),) if name == "method" and owner is Desk else ()
    assert getattr(owner, name)(*args, Order("o-1")) in ("method", "static", "Desk")
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_the_object_may_be_self(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """A method on the entity's own class is about that entity."""
    mesh = make_mesh()

    @mesh.model(name="parcel")
    class Parcel:
        def __init__(self) -> None:
            self.id, self.state = "p-1", "packed"

        @model_context(model="parcel", state="sent")
        def send(self) -> None: ...

    Parcel().send()
    assert moves(plane) == [("p-1", "packed", "sent", "committed")]


def test_a_callable_object_and_a_partial_are_captured(shop: Mesh, plane: FakePlane) -> None:
    """What can be called can be captured, functions or not."""

    class Payment:
        def __call__(self, order: Order) -> str:
            return "paid"

    def pay(till: str, order: Order) -> str:
        return till

    capture_it = model_context(model="order", state="paid")
    assert capture_it(Payment())(Order("o-1")) == "paid"
    assert capture_it(functools.partial(pay, "till"))(order=Order("o-2")) == "till"
    assert [event.entity_id for event in plane.published] == ["o-1", "o-2"]


def test_a_callable_object_may_be_asynchronous(shop: Mesh, plane: FakePlane) -> None:
    """An object whose call is a coroutine commits when that is over."""

    class Payment:
        async def __call__(self, order: Order) -> None:
            await asyncio.sleep(0)
            assert plane.published == []

    asyncio.run(model_context(model="order", state="paid")(Payment())(Order("o-1")))
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_what_is_no_function_is_refused() -> None:
    """Decorating a class or a value is an error that names the place."""
    with pytest.raises(ModelError, match=r"test_capture.py:\d+:\d+: only functions and methods"):
        model_context(model="order")(3)  # type: ignore[type-var]
    with pytest.raises(ModelError, match="a model is named by"):
        model_context(model=3)  # type: ignore[arg-type]


def test_signatures_are_preserved() -> None:
    """A captured function says the same of itself as the bare one."""

    async def pay(order: Order, *, till: str = "main") -> bool:
        """Pay."""
        return True

    captured = model_context(model="order", state="paid")(pay)
    assert inspect.signature(captured) == inspect.signature(pay, eval_str=True)
    assert (captured.__doc__, captured.__qualname__) == (pay.__doc__, pay.__qualname__)
    assert inspect.iscoroutinefunction(captured)
    assert captured.__wrapped__ is pay  # type: ignore[attr-defined]


def test_kinds_of_functions_are_preserved() -> None:
    """Generators stay generators to whoever asks."""

    def steps(order: Order) -> Iterator[int]:
        yield 1

    async def asteps(order: Order) -> AsyncIterator[int]:
        yield 1

    assert inspect.isgeneratorfunction(model_context(model="order")(steps))
    assert inspect.isasyncgenfunction(model_context(model="order")(asteps))


# Errors that are found early


def test_an_id_that_no_parameter_begins_is_an_error_at_import() -> None:
    """A wrong path is refused where it stands, with the nearest parameter."""
    with pytest.raises(ModelError, match=r"test_capture.py:\d+:\d+: id='ordr.number' .*Did you mean 'order'"):

        @model_context(model="order", id="ordr.number")
        def pay(order: Order) -> None: ...


@pytest.mark.parametrize("option", ["state", "from_", "on_error", "id"])
def test_an_option_of_no_model_is_an_error_at_import(option: str) -> None:
    """What speaks of one model needs to know which."""
    with pytest.raises(ModelError, match=f"{option}= says something of one model"):

        @model_context(**{option: "order"})  # type: ignore[call-overload]
        def pay(order: Order) -> None: ...


def test_an_unknown_option_names_the_nearest() -> None:
    """A misspelt option is an error at import."""
    with pytest.raises(ModelError, match=r"unknown option 'sate'. Did you mean 'state'"):
        model_context(model="order", sate="paid")  # type: ignore[call-overload]
    with pytest.raises(ModelError, match="unknown option 'state'"):
        context_observer(model="order", state="paid")  # type: ignore[call-overload]


def test_an_unknown_model_is_an_error_at_start(make_mesh: MakeMesh) -> None:
    """The start says file, line and column of the decorator, and the nearest declared name."""

    @model_context(model="ordr", state="paid")
    def pay(order_id: str) -> None: ...

    line = pay.__wrapped__.__code__.co_firstlineno  # type: ignore[attr-defined]
    with pytest.raises(UnknownModel, match=rf"test_capture.py:{line}:6: unknown model 'ordr'. Did you mean 'order'"):
        make_mesh(ORDER, strict=True)


def test_a_bare_decorator_of_an_unknown_class_is_an_error_at_start(make_mesh: MakeMesh) -> None:
    """A class that declares no model is as unknown as a name."""

    @model_context(Failure)
    def pay(order_id: str) -> None: ...

    with pytest.raises(UnknownModel, match="'Failure'"):
        make_mesh(ORDER, strict=True)


@pytest.mark.parametrize("options", [{"state": "payed"}, {"from_": {"payed"}}, {"on_error": "payed"}])
def test_an_unknown_state_is_an_error_at_start(options: dict[str, Any], make_mesh: MakeMesh) -> None:
    """Every state that a decorator names is checked, and the nearest one told."""

    @model_context(model="order", **options)
    def pay(order_id: str) -> None: ...

    with pytest.raises(UnknownState, match=r"test_capture.py:\d+:\d+: unknown state 'payed'.* Did you mean 'paid'"):
        make_mesh(ORDER, strict=True)


def test_an_unknown_model_breaks_no_call(shop: Mesh, plane: FakePlane) -> None:
    """A function decorated after the start with a name that nobody declared runs bare, and is counted."""

    @model_context(model="ordr", state="paid")
    def pay(order_id: str) -> str:
        return order_id

    assert pay("o-1") == "o-1"
    assert shop.telemetry.drops.read() == {("capture", "internal_error"): 1}


# When nothing is captured


def test_without_a_mesh_the_call_is_bare() -> None:
    """Nothing happens where no mesh was started."""
    current.forget()

    @model_context(model="order", state="paid", from_="created")
    def pay(order: Order) -> str:
        return order.number

    assert pay(Order("o-1")) == "o-1"


def test_mode_off_captures_nothing(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """A mesh that is off neither publishes nor carries."""
    mesh = make_mesh(ORDER, mode="off")

    @model_context(model="order", state="paid")
    def pay(order_id: str) -> Any:
        mesh.bind("order", "o-1")
        mesh.publish("order", "o-1", state="shipped")
        return seen(mesh)

    assert pay("o-1") is None
    with mesh.entity("order", "o-1") as order:
        order.to("paid")
    assert moves(plane) == []


def test_an_open_registry_accepts_everything(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """With nothing declared, any model, state and attribute goes."""
    mesh = make_mesh()

    @model_context(model="anything", state="whatever")
    def act(anything_id: int) -> None: ...

    act(7)
    mesh.publish("other", 8, state="odd", size=3)
    assert moves(plane) == [("7", None, "whatever", "committed"), ("8", None, "odd", "committed")]


# Tentative, committed, aborted


def test_the_state_is_tentative_while_the_method_runs(shop: Mesh, plane: FakePlane) -> None:
    """Calls below carry the new state on top of the stored revision; afterwards it is as published."""
    plane.hold("order", "o-1", "created", 7)

    @model_context(model="order", state="paid")
    def pay(order: Order) -> Any:
        context = shop.context("order")
        assert context is not None
        return context.state, context.tentative, context.revision, context.attributes, moves(plane)

    assert pay(Order("o-1")) == ("paid", True, 7, {"amount": 1250}, [])
    assert plane.published[0].base_revision == 7
    assert shop.context("order") is None


def test_a_method_without_a_state_carries_the_current_one(shop: Mesh, plane: FakePlane) -> None:
    """``@model_context(model=…)`` binds the entity and carries what is known of it."""
    plane.hold("order", "o-1", "shipped", 7, amount=1250)

    @model_context(model="order")
    def look(order: Order) -> Any:
        return shop.context("order")

    assert look(Order("o-1")) is plane.held[EntityRef("order", "o-1")]
    assert moves(plane) == []


def test_an_observer_carries_nothing(shop: Mesh, plane: FakePlane) -> None:
    """What an observed method calls does not carry its entities."""

    @context_observer
    def look(order: Order) -> Any:
        return seen(shop)

    assert look(Order("o-1")) is None


def test_a_move_updates_the_work_that_the_entity_is_of(shop: Mesh, plane: FakePlane) -> None:
    """After the call the request carries the new state, for it knew nothing else of the model."""
    with current.use(current.Record(shop)):
        pay_order(Order("o-1"))
        assert seen(shop) == ("paid", True)
        pay_order(Order("o-2"))
        context = shop.context("order")
        assert context is not None
        assert context.entity_id == "o-1"


@model_context(model="order", state="paid")
def pay_order(order: Order) -> None:
    """Pay."""


@pytest.mark.parametrize("error", [Failure, KeyboardInterrupt, asyncio.CancelledError, SystemExit])
def test_an_exception_aborts(error: type[BaseException], shop: Mesh, plane: FakePlane) -> None:
    """Whatever comes out of the method is published as an abort, with its type and not its text."""

    @model_context(model="order", state="paid")
    def pay(order: Order) -> None:
        raise error("secret text")

    with current.use(current.Record(shop)), pytest.raises(error, match="secret text"):
        pay(Order("o-1"))
        assert seen(shop) is None
    assert moves(plane) == [("o-1", "created", "paid", "aborted")]
    assert plane.published[0].cause == error.__name__
    assert "secret" not in repr(plane.published)
    assert shop.telemetry.aborts.read() == {("order", "paid"): 1}


def test_after_an_abort_the_work_carries_what_it_did(shop: Mesh, plane: FakePlane) -> None:
    """The tentative state of a call that failed is forgotten."""
    plane.hold("order", "o-1", "created", 7)

    @model_context(model="order", state="paid")
    def pay(order: Order) -> None:
        raise Failure

    with current.use(current.Record(shop)):
        shop.bind("order", "o-1")
        with pytest.raises(Failure):
            pay(Order("o-1"))
        assert seen(shop) == ("created", False)


def test_on_error_moves_the_entity(shop: Mesh, plane: FakePlane) -> None:
    """An exception leads to the state that the decorator names, and goes on."""

    @model_context(model="order", state="paid", on_error=OrderState.FAILED)
    def pay(order: Order) -> None:
        raise Failure

    with pytest.raises(Failure):
        pay(Order("o-1"))
    assert moves(plane) == [("o-1", "created", "failed", "committed")]
    assert plane.published[0].cause == "Failure"


@pytest.mark.parametrize(("result", "expected"), [(True, "paid"), (False, "failed")])
def test_a_state_may_depend_on_the_result(result: bool, expected: str, shop: Mesh, plane: FakePlane) -> None:
    """A function of the result chooses the state."""

    @model_context(model="order", state=lambda ok: OrderState.PAID if ok else "failed")
    def pay(order: Order) -> bool:
        return result

    assert pay(Order("o-1")) is result
    assert moves(plane) == [("o-1", "created", expected, "committed")]


def test_a_result_may_say_that_nothing_moved(shop: Mesh, plane: FakePlane) -> None:
    """A function of the result that gives None leaves the entity where it is."""

    @model_context(model="order", state=lambda _: None)
    def pay(order: Order) -> None: ...

    pay(Order("o-1"))
    assert moves(plane) == []


@pytest.mark.parametrize("choose", [lambda _: "payed", lambda _: 1 / 0, lambda _: 3])
def test_a_state_that_cannot_be_chosen_breaks_nothing(choose: Any, shop: Mesh, plane: FakePlane) -> None:
    """A function that raises, or gives an undeclared state, is counted; the call succeeds."""

    @model_context(model="order", state=choose)
    def pay(order: Order) -> str:
        return "done"

    assert pay(Order("o-1")) == "done"
    assert moves(plane) == []
    assert shop.telemetry.drops.read() == {("capture", "internal_error"): 1}


def test_a_state_of_the_object_that_nobody_declared_is_not_published(shop: Mesh, plane: FakePlane) -> None:
    """An observed state must be one of the model's; attributes are published all the same."""

    @context_observer
    def update(order: Order) -> None:
        order.status, order.amount = "'; DROP TABLE", Decimal(3)

    update(Order("o-1"))
    (event,) = plane.published
    assert (event.to_state, event.attributes) == (None, {"amount": 300})
    assert shop.telemetry.drops.read() == {("capture", "unknown_state"): 1}


# Coroutines


def test_a_coroutine_commits_when_it_is_over(shop: Mesh, plane: FakePlane) -> None:
    """The state is tentative across every await, and committed by the return."""

    @model_context(model="order", state="paid")
    async def pay(order: Order) -> Any:
        await asyncio.sleep(0)
        return seen(shop), moves(plane)

    assert asyncio.run(pay(Order("o-1"))) == (("paid", True), [])
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_cancellation_aborts(shop: Mesh, plane: FakePlane) -> None:
    """A task that is cancelled aborts its call."""

    @model_context(model="order", state="paid")
    async def pay(order: Order) -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        task = asyncio.create_task(pay(Order("o-1")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert moves(plane) == [("o-1", "created", "paid", "aborted")]
    assert plane.published[0].cause == "CancelledError"


@given(st.lists(st.integers(0, 3), min_size=2, max_size=5))
def test_siblings_never_see_each_other(delays: list[int]) -> None:
    """Calls that run at once in one request each carry their own entity only, whoever ends first."""
    plane = FakePlane()
    mesh = RecordingMesh(models=[ORDER], control_plane=plane)

    @model_context(model="order", state="paid")
    async def pay(order_number: str, delay: int) -> None:
        for _ in range(delay):
            await asyncio.sleep(0)
            context = mesh.context("order")
            assert context is not None
            assert context.entity_id == order_number

    async def request() -> None:
        with current.use(current.Record(mesh)):
            await asyncio.gather(*(pay(f"o-{index}", delay) for index, delay in enumerate(delays)))

    with mesh:
        asyncio.run(request())
    assert sorted(event.entity_id for event in plane.published) == [f"o-{index}" for index in range(len(delays))]


# Generators


def steps(mesh: Mesh, plane: FakePlane, log: list[Any]) -> Callable[[Order], Any]:
    """Give a captured generator that logs what it sees and is sent."""

    @model_context(model="order", state="paid")
    def generate(order: Order) -> Any:
        try:
            log.append(seen(mesh))
            log.append((yield 1))
            log.append(seen(mesh))
            yield 2
        except Failure:
            log.append("caught")
            yield 3
        return "end"

    return generate


def test_a_generator_shows_its_state_only_during_next(shop: Mesh, plane: FakePlane) -> None:
    """Between two steps the consumer carries nothing of it; exhaustion commits."""
    log: list[Any] = []
    with current.use(current.Record(shop)):
        generator = steps(shop, plane, log)(Order("o-1"))
        assert log == []
        assert next(generator) == 1
        assert (seen(shop), moves(plane)) == (None, [])
        assert generator.send("hello") == 2
        assert log == [("paid", True), "hello", ("paid", True)]
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert stop.value.value == "end"
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_closing_a_generator_aborts(shop: Mesh, plane: FakePlane) -> None:
    """A consumer that stops early did not get what the state promises."""
    generator = steps(shop, plane, [])(Order("o-1"))
    next(generator)
    generator.close()
    assert moves(plane) == [("o-1", "created", "paid", "aborted")]
    assert plane.published[0].cause == "GeneratorExit"


def test_a_generator_that_is_collected_aborts(shop: Mesh, plane: FakePlane) -> None:
    """Letting go of a generator is closing it."""
    generator = steps(shop, plane, [])(Order("o-1"))
    next(generator)
    del generator
    gc.collect()
    assert moves(plane) == [("o-1", "created", "paid", "aborted")]


def test_a_generator_that_was_never_begun_publishes_nothing(shop: Mesh, plane: FakePlane) -> None:
    """Nothing runs before the first step."""
    steps(shop, plane, [])(Order("o-1")).close()
    assert moves(plane) == []


def test_what_is_thrown_into_a_generator_is_its_own(shop: Mesh, plane: FakePlane) -> None:
    """A generator may catch what its consumer throws, and then commits."""
    log: list[Any] = []
    generator = steps(shop, plane, log)(Order("o-1"))
    next(generator)
    assert generator.throw(Failure()) == 3
    assert list(generator) == []
    assert log[-1] == "caught"
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_what_a_generator_raises_aborts(shop: Mesh, plane: FakePlane) -> None:
    """An exception out of a step is the call's."""
    generator = steps(shop, plane, [])(Order("o-1"))
    next(generator)
    with pytest.raises(KeyError):
        generator.throw(KeyError())
    assert moves(plane) == [("o-1", "created", "paid", "aborted")]


def test_a_generator_that_ends_when_closed_aborts(shop: Mesh, plane: FakePlane) -> None:
    """Catching the close and returning is no exhaustion."""

    @model_context(model="order", state="paid")
    def generate(order: Order) -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            return

    generator = generate(Order("o-1"))
    next(generator)
    generator.close()  # type: ignore[attr-defined]
    assert moves(plane) == [("o-1", "created", "paid", "aborted")]


def test_two_generators_in_turn_do_not_see_each_other(shop: Mesh, plane: FakePlane) -> None:
    """Steps of two generators that take turns each show their own entity."""

    @model_context(model="order", state="paid")
    def generate(order: Order) -> Iterator[Any]:
        for _ in range(2):
            context = shop.context("order")
            yield context.entity_id if context is not None else None

    with current.use(current.Record(shop)):
        pairs = list(zip(generate(Order("o-1")), generate(Order("o-2")), strict=True))
    assert pairs == [("o-1", "o-2"), ("o-1", "o-2")]


def asteps(mesh: Mesh, log: list[Any]) -> Callable[[Order], Any]:
    """Give a captured asynchronous generator."""

    @model_context(model="order", state="paid")
    async def generate(order: Order) -> Any:
        try:
            log.append(seen(mesh))
            await asyncio.sleep(0)
            log.append((yield 1))
            log.append(seen(mesh))
            yield 2
        except Failure:
            yield 3

    return generate


def test_an_asynchronous_generator_does_the_same(shop: Mesh, plane: FakePlane) -> None:
    """State during each step, values sent in, exhaustion commits."""
    log: list[Any] = []

    async def main() -> None:
        with current.use(current.Record(shop)):
            generator = asteps(shop, log)(Order("o-1"))
            assert await anext(generator) == 1
            assert (seen(shop), moves(plane)) == (None, [])
            assert await generator.asend("hello") == 2
            with pytest.raises(StopAsyncIteration):
                await anext(generator)

    asyncio.run(main())
    assert log == [("paid", True), "hello", ("paid", True)]
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


@pytest.mark.parametrize("end", ["aclose", "collect", "shutdown"])
def test_an_asynchronous_generator_that_is_left_aborts(end: str, shop: Mesh, plane: FakePlane) -> None:
    """Closed, collected or left to the loop's shutdown: all the same."""

    async def main() -> Any:
        generator = asteps(shop, [])(Order("o-1"))
        await anext(generator)
        if end == "aclose":
            await generator.aclose()
        if end == "collect":
            del generator
            gc.collect()
            await asyncio.sleep(0.01)
            return None
        return generator

    asyncio.run(main())
    assert moves(plane) == [("o-1", "created", "paid", "aborted")]


def test_what_is_thrown_into_an_asynchronous_generator_is_its_own(shop: Mesh, plane: FakePlane) -> None:
    """It may catch it, and then commits."""

    async def main() -> None:
        generator = asteps(shop, [])(Order("o-1"))
        await anext(generator)
        assert await generator.athrow(Failure()) == 3
        assert [item async for item in generator] == []

    asyncio.run(main())
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_generators_are_bare_without_a_mesh() -> None:
    """Without a mesh both kinds of generator pass everything through."""
    current.forget()

    @model_context(model="order", state="paid")
    def generate(order_id: str) -> Any:
        got = yield 1
        return got

    @model_context(model="order", state="paid")
    async def agenerate(order_id: str) -> Any:
        yield 1

    generator = generate("o-1")
    next(generator)
    with pytest.raises(StopIteration, match="hello"):
        generator.send("hello")

    async def main() -> list[int]:
        return [item async for item in agenerate("o-1")]

    assert asyncio.run(main()) == [1]


# Nested and stacked


def test_an_inner_move_of_the_entity_wins(shop: Mesh, plane: FakePlane) -> None:
    """The outer commit is void when the entity moved inside, and the request carries the inner state."""

    @model_context(model="order", state="shipped")
    def process(order: Order) -> None:
        pay_order(order)
        assert seen(shop) == ("paid", True)

    with current.use(current.Record(shop)):
        process(Order("o-1"))
        assert seen(shop) == ("paid", True)
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_an_inner_call_is_checked_against_what_is_committed(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """The state that an outer call only announces is no state to start from."""
    model = BusinessModel(
        "order", states=OrderState, transitions={"created": ["paid"], "paid": ["shipped"]}, enforce=True
    )
    mesh = make_mesh(model)
    plane.hold("order", "o-1", "paid", 7)

    @model_context(model="order", state="shipped", from_="paid")
    def ship(order_id: str) -> None: ...

    @model_context(model="order")
    def fulfil(order_id: str) -> None:
        ship(order_id)

    @model_context(model="order", state="shipped")
    def process(order_id: str) -> None:
        ship(order_id)

    process("o-1")
    assert moves(plane) == [("o-1", "paid", "shipped", "committed")]
    del mesh, fulfil


def test_a_move_of_another_entity_inside_voids_nothing(shop: Mesh, plane: FakePlane) -> None:
    """Inside the payment of one order another one may be shipped."""

    @model_context(model="order", state="shipped")
    def ship(order: Order) -> None: ...

    @model_context(model="order", state="paid")
    def pay(order: Order) -> Any:
        ship(Order("o-2"))
        return shop.context("order")

    with current.use(current.Record(shop)):
        assert pay(Order("o-1")).entity_id == "o-1"
    assert moves(plane) == [("o-2", "created", "shipped", "committed"), ("o-1", "created", "paid", "committed")]


def test_another_entity_inside_is_not_the_one_that_has_no_id_yet(shop: Mesh, plane: FakePlane) -> None:
    """A new order does not take its id from an old one that is paid on the way."""

    @model_context(model="order", state="created")
    def create() -> None:
        pay_order(Order("old"))
        shop.bind(Order("new"))

    with current.use(current.Record(shop)):
        create()
    assert moves(plane) == [("old", "created", "paid", "committed"), ("new", None, "created", "committed")]


def test_on_error_follows_an_inner_move(shop: Mesh, plane: FakePlane) -> None:
    """What moved inside stays moved; the failure leads on from there."""

    @model_context(model="order", state="shipped", on_error="failed")
    def process(order: Order) -> None:
        pay_order(order)
        raise Failure

    with pytest.raises(Failure):
        process(Order("o-1"))
    assert moves(plane) == [("o-1", "created", "paid", "committed"), ("o-1", "paid", "failed", "committed")]
    assert plane.published[1].base_revision == 1


def test_an_abort_keeps_an_inner_move(shop: Mesh, plane: FakePlane) -> None:
    """The request carries the inner state although the outer call failed."""

    @model_context(model="order", state="shipped")
    def process(order: Order) -> None:
        pay_order(order)
        raise Failure

    with current.use(current.Record(shop)):
        with pytest.raises(Failure):
            process(Order("o-1"))
        assert seen(shop) == ("paid", True)
    assert [to for _, _, to, _ in moves(plane)] == ["paid", "shipped"]
    assert [event.outcome for event in plane.published] == [Outcome.COMMITTED, Outcome.ABORTED]


def test_recursion_publishes_once(shop: Mesh, plane: FakePlane) -> None:
    """The innermost call of a recursion is the one that moves the entity."""

    @model_context(model="order", state="paid")
    def pay(order: Order, times: int) -> None:
        if times:
            pay(order, times - 1)

    pay(Order("o-1"), 5)
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_a_move_by_hand_inside_wins(shop: Mesh, plane: FakePlane) -> None:
    """``mesh.publish`` and ``mesh.entity`` inside count as inner moves."""

    @model_context(model="order", state="shipped")
    def process(order: Order) -> None:
        shop.publish("order", "o-1", state="paid")

    @model_context(model="order", state="shipped")
    def process_entity(order: Order) -> None:
        with shop.entity("order", "o-2") as entity:
            entity.to("paid")

    process(Order("o-1"))
    process_entity(Order("o-2"))
    assert [(key, to) for key, _, to, _ in moves(plane)] == [("o-1", "paid"), ("o-2", "paid")]


USER = BusinessModel("user", states=("active", "buyer"))


def test_stacked_decorators_are_one_atomic_batch(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """Two models moved by one method are published together, under one batch id."""
    make_mesh(ORDER, USER)

    @model_context(model="user", state="buyer")
    @model_context(model="order", state="paid")
    def pay(order_number: str, user_id: str) -> None: ...

    pay("o-1", "u-1")
    assert [(event.model, event.to_state) for event in plane.published] == [("user", "buyer"), ("order", "paid")]
    (batch,) = {event.batch_id for event in plane.published}
    assert batch
    assert inspect.signature(pay).parameters.keys() == {"order_number", "user_id"}


def test_of_stacked_decorators_of_one_entity_the_inner_wins(shop: Mesh, plane: FakePlane) -> None:
    """Stacking is nesting: the outer commit is void."""

    @model_context(model="order", state="shipped")
    @model_context(model="order", state="paid")
    def pay(order: Order) -> None: ...

    pay(Order("o-1"))
    assert moves(plane) == [("o-1", "created", "paid", "committed")]
    assert plane.published[0].batch_id == ""


def test_a_foreign_decorator_in_between_goes_on_running(shop: Mesh, plane: FakePlane) -> None:
    """``functools.wraps`` hands our mark on; the wrapper that has it is still not ours."""
    calls = []

    def foreign(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            calls.append(args)
            return function(*args)

        return call

    @model_context(model="order", state="shipped")
    @foreign
    @model_context(model="order", state="paid")
    def pay(order: Order) -> None: ...

    pay(Order("o-1"))
    assert len(calls) == 1
    assert moves(plane) == [("o-1", "created", "paid", "committed")]


def test_captures_lists_declarations(shop: Mesh) -> None:
    """Integrations see what a function captures, outermost first."""

    @model_context(model="order", state="shipped")
    @context_observer
    def pay(order: Order) -> None: ...

    assert [found.carry for found in capture.captures(pay)] == [True, False]
    assert capture.captures(pay.__wrapped__) == ()  # type: ignore[attr-defined]


# Ids


def by_path(body: Any) -> None: ...
def by_name(order_number: str) -> None: ...
def by_id(order_id: str) -> None: ...
def by_model(order: str) -> None: ...


class Body:
    """A request's body, with the order inside."""

    class order:  # noqa: N801, D106
        number = "o-1"


@pytest.mark.parametrize(
    ("function", "rule", "args", "kwargs"),
    [
        (by_path, "body.order.number", (Body(),), {}),
        (by_path, "body.order.number", (), {"body": {"order": {"number": "o-1"}}}),
        (by_path, lambda body: body.order.number, (Body(),), {}),
        (by_path, "body", ("o-1",), {}),
        (by_name, None, ("o-1",), {}),
        (by_name, None, (), {"order_number": "o-1"}),
        (by_id, None, ("o-1",), {}),
        (by_model, None, ("o-1",), {}),
        (by_model, None, ({"number": "o-1", "status": "created"},), {}),
        (by_model, None, (Order("o-1"),), {}),
    ],
)
def test_rules_of_the_id(
    function: Any, rule: Any, args: Any, kwargs: Any, make_mesh: MakeMesh, plane: FakePlane
) -> None:
    """An id is found by a path, a function, an object of the class, a mapping, or an argument's name."""
    make_mesh(ORDER)
    model_context(model="order", state="paid", id=rule)(function)(*args, **kwargs)
    assert [(event.entity_id, event.to_state) for event in plane.published] == [("o-1", "paid")]


def test_an_id_may_be_a_default_or_stand_among_keywords(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """Defaults and ``**kwargs`` are looked at like any argument."""
    make_mesh(ORDER)

    @model_context(model="order", state="paid")
    def pay(order_id: str = "o-1") -> None: ...

    @model_context(model="order", state="paid")
    def pay_any(*items: str, **details: Any) -> None: ...

    pay()
    pay_any("x", order_id="o-2")
    assert [event.entity_id for event in plane.published] == ["o-1", "o-2"]


def test_a_string_is_an_id_whatever_its_methods_are_called(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """A key named like a method of str does not make an entity of a string."""
    make_mesh(BusinessModel("book", key="title"))

    @model_context(model="book", state="sold")
    def sell(book: str) -> None: ...

    sell("b-1")
    assert [event.entity_id for event in plane.published] == ["b-1"]


def test_without_an_id_only_the_state_travels(shop: Mesh, plane: FakePlane) -> None:
    """Calls carry the state of what has no id yet; nothing can be published of it."""

    @model_context(model="order", state="created")
    def create() -> Any:
        return seen(shop)

    assert create() == ("created", True)
    assert moves(plane) == []
    assert shop.telemetry.drops.read() == {("capture", "no_id"): 1}


def test_bind_gives_a_new_entity_its_id(shop: Mesh, plane: FakePlane) -> None:
    """From ``bind`` on calls carry the id, and the return commits under it."""

    @model_context(model="order", state="created")
    def create() -> Any:
        shop.bind(Order("o-1"), amount=Decimal(5))
        context = shop.context("order")
        assert context is not None
        return context.ref, context.state, context.tentative

    assert create() == (EntityRef("order", "o-1"), "created", True)
    assert moves(plane) == [("o-1", None, "created", "committed")]
    assert plane.published[0].attributes == {"amount": 500}


def test_an_object_may_get_its_id_during_the_call(shop: Mesh, plane: FakePlane) -> None:
    """An ORM gives the id on insert; it is read again at the end."""

    @model_context(model="order", state="created")
    def create(order: Order) -> None:
        order.number = "o-1"

    create(Order(""))
    assert moves(plane) == [("o-1", "created", "created", "committed")]


def test_bind_of_a_known_entity_builds_on_its_revision(shop: Mesh, plane: FakePlane) -> None:
    """An order that turns out to exist moves from where it stands."""
    plane.hold("order", "o-1", "paid", 7)

    @model_context(model="order", state="shipped")
    def upsert() -> None:
        shop.bind("order", "o-1")

    upsert()
    assert moves(plane) == [("o-1", "paid", "shipped", "committed")]
    assert plane.published[0].base_revision == 7


# Moves that the model forbids

STRICT = BusinessModel("order", states=OrderState, transitions={"created": ["paid"], "paid": ["shipped"]}, enforce=True)
LAX = BusinessModel("order", states=OrderState, transitions={"created": ["paid"], "paid": ["shipped"]})


def ship(order_id: str) -> str:
    """Ship."""
    return "shipped"


def test_a_forbidden_move_is_refused_before_the_method_runs(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """Where the model enforces its moves, ``InvalidTransition`` says what is allowed, and nothing ran."""
    make_mesh(STRICT)
    plane.hold("order", "o-1", "created", 3)
    calls: list[str] = []

    def record(order_id: str) -> None:
        calls.append(order_id)

    with pytest.raises(InvalidTransition, match=r"order o-1 cannot go from 'created' to 'shipped'; .* allows: paid"):
        model_context(model="order", state="shipped")(record)("o-1")
    assert (calls, moves(plane)) == ([], [])


def test_from_states_are_enforced_too(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """``from_`` narrows what the model allows."""
    make_mesh(STRICT)
    plane.hold("order", "o-1", "created", 3)
    with pytest.raises(InvalidTransition):
        model_context(model="order", from_="paid")(ship)("o-1")


@pytest.mark.parametrize(("model", "mode"), [(LAX, "enforce"), (STRICT, "observe")])
def test_a_forbidden_move_is_recorded_where_nothing_enforces(
    model: BusinessModel, mode: str, make_mesh: MakeMesh, plane: FakePlane
) -> None:
    """Without ``enforce``, or while only watching, the move is published and counted."""
    mesh = make_mesh(model, mode=mode)
    plane.hold("order", "o-1", "created", 3)
    assert model_context(model="order", state="shipped")(ship)("o-1") == "shipped"
    mesh.publish("order", "o-1", state="created")
    assert moves(plane) == [("o-1", "created", "shipped", "committed"), ("o-1", "shipped", "created", "committed")]
    assert mesh.telemetry.drops.read() == {("capture", "unexpected_transition"): 2}


@pytest.mark.parametrize("held", [None, "undeclared"])
def test_an_unknown_from_state_is_recorded_never_raised(
    held: str | None, make_mesh: MakeMesh, plane: FakePlane
) -> None:
    """Nothing known, or a state that the model does not declare, forbids nothing."""
    make_mesh(STRICT)
    if held is not None:
        plane.hold("order", "o-1", held, 3)
    assert model_context(model="order", state="shipped")(ship)("o-1") == "shipped"
    assert moves(plane) == [("o-1", held, "shipped", "committed")]


def test_a_forbidden_result_is_an_abort_and_no_error(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """After the business call ran nothing is raised: the move is published as aborted."""
    make_mesh(STRICT)
    plane.hold("order", "o-1", "created", 3)
    assert model_context(model="order", state=lambda result: result)(ship)("o-1") == "shipped"
    assert moves(plane) == [("o-1", "created", "shipped", "aborted")]
    assert plane.published[0].cause == "InvalidTransition"


def test_moves_are_checked_against_the_highest_known_revision(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """What a peer announced on top of the stored revision counts, unless it may not be believed."""
    mesh = make_mesh(STRICT)
    plane.hold("order", "o-1", "created", 3)
    captured = model_context(model="order", state="shipped")(ship)
    with current.use(current.Record(mesh)) as work:
        heard = plane.held[EntityRef("order", "o-1")].but(state="paid", tentative=True)
        work.put(heard.but(trust=heard.trust.UNSIGNED, revision=999))
        with pytest.raises(InvalidTransition):
            captured("o-1")
        work.put(heard)
        assert captured("o-1") == "shipped"
    assert plane.published[0].base_revision is None


# What breaks, breaks nothing


class Broken(Order):
    """An order whose amount cannot be read."""

    @property
    def amount(self) -> Decimal:  # type: ignore[override]
        """Raise."""
        raise Failure("detached")

    @amount.setter
    def amount(self, value: Decimal) -> None:
        """Take anything."""


@pytest.mark.parametrize("decorate", [model_context, context_observer, model_context(model="order", state="paid")])
def test_a_property_that_raises_breaks_nothing(decorate: Any, shop: Mesh, plane: FakePlane) -> None:
    """What cannot be read is left out and counted; the rest is published."""

    @decorate
    def update(order: Order) -> str:
        order.status = OrderState.PAID
        return "done"

    assert update(Broken("o-1")) == "done"
    assert moves(plane) == [("o-1", "created", "paid", "committed")]
    assert shop.telemetry.drops.read()["capture", "attribute"] == 1


@pytest.mark.parametrize("value", ["12 EUR", Decimal("NaN"), Decimal("Infinity"), object(), b"12", Decimal(10) ** 20])
def test_a_value_that_does_not_fit_is_left_out(value: Any, shop: Mesh, plane: FakePlane) -> None:
    """An attribute whose value is none of its type is counted, never guessed."""
    pay_order(Order("o-1", amount=value))
    assert [(event.to_state, dict(event.attributes)) for event in plane.published] == [("paid", {})]
    assert shop.telemetry.drops.read() == {("capture", "attribute"): 1}


def test_an_id_function_that_raises_breaks_nothing(shop: Mesh, plane: FakePlane) -> None:
    """The call runs uncaptured, and is counted."""
    assert model_context(model="order", state="paid", id=lambda order_id: 1 / 0)(ship)("o-1") == "shipped"
    assert moves(plane) == []
    assert shop.telemetry.drops.read() == {("capture", "internal_error"): 1}


def test_a_broken_plane_breaks_nothing(shop: Mesh, plane: FakePlane) -> None:
    """Neither looking up nor publishing may fail the business call, nor a move by hand."""
    plane.broken = True

    @model_context(model="order", state="paid")
    def pay(order: Order) -> str:
        shop.bind(order)
        with shop.entity("order", "o-2") as entity:
            entity.to("paid")
        shop.publish("order", "o-3", state="paid")
        return "done"

    assert pay(Order("o-1")) == "done"
    drops = shop.telemetry.drops.read()
    assert drops["publish", "internal_error"] == 3
    assert {where for where, _ in drops} == {"publish", "known", "entity"}


class BrokenClock:
    """A clock that fails when it is asked for the time."""

    def now(self) -> Any:
        """Raise."""
        raise Failure

    def monotonic(self) -> float:
        """Give nothing."""
        return 0.0


@pytest.mark.parametrize("part", ["ids", "clock"])
def test_broken_ids_and_clocks_break_nothing(part: str, plane: FakePlane) -> None:
    """Whatever a mesh is built from may fail without failing the business call."""
    from mcp_sdk.clock import Runtime  # noqa: PLC0415

    counted = iter(("instance",))
    runtime = Runtime(clock=BrokenClock()) if part == "clock" else Runtime(ids=lambda: next(counted))
    with Mesh(service="s", models=[ORDER], control_plane=plane, runtime=runtime) as mesh:
        assert model_context(model="order", state="paid")(ship)("o-1") == "shipped"
        assert mesh.telemetry.drops.read() == {("capture", "internal_error"): 1}


class Awkward:
    """A value that refuses to be compared, as arrays do."""

    def __eq__(self, other: object) -> bool:
        raise Failure

    __hash__ = None  # type: ignore[assignment]


def test_values_that_refuse_comparison_break_nothing(make_mesh: MakeMesh, plane: FakePlane) -> None:
    """An object is converted again when its raw values cannot be compared."""
    make_mesh(BusinessModel("order", key="number", state="status", attributes={"amount": "string"}, python_type=Order))

    @model_context(model="order", state="paid")
    def pay(order: Order) -> str:
        order.amount = Awkward()  # type: ignore[assignment]
        return "done"

    assert pay(Order("o-1", amount=Awkward())) == "done"  # type: ignore[arg-type]
    assert [event.to_state for event in plane.published] == ["paid"]


# Spans


def test_a_span_names_the_move_and_keeps_the_text_of_errors(shop: Mesh, plane: FakePlane) -> None:
    """``span=True`` wraps the call; the transition is an event on it, an exception only its type."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")

    @model_context(model="order", state="paid")
    def pay(order: Order) -> None: ...

    with tracer.start_as_current_span("request"):
        pay(Order("o-1"))
    (span,) = exporter.get_finished_spans()
    (event,) = span.events
    assert event.name == "mcp_sdk.transition"
    assert dict(event.attributes or {})["mcp_sdk.order.to"] == "paid"
    assert plane.published[0].trace_id == format(span.context.trace_id, "032x")  # type: ignore[union-attr]


def test_a_spanned_call_works_in_both_colours(shop: Mesh, plane: FakePlane) -> None:
    """``span=True`` changes nothing else, and goes with no generator."""

    @model_context(model="order", state="paid", span=True)
    def pay(order: Order) -> str:
        return "done"

    @model_context(model="order", state="paid", span=True)
    async def apay(order: Order) -> str:
        raise Failure("text")

    assert pay(Order("o-1")) == "done"
    assert inspect.iscoroutinefunction(apay)
    with pytest.raises(Failure):
        asyncio.run(apay(Order("o-2")))
    assert [event.outcome.value for event in plane.published] == ["committed", "aborted"]
    with pytest.raises(ModelError, match="does not go with a generator"):

        @model_context(model="order", span=True)
        def generate(order: Order) -> Iterator[int]:
            yield 1


def test_a_transition_says_where_it_comes_from(shop: Mesh, plane: FakePlane) -> None:
    """Operation, source, scope, time and duration are the call's."""

    @model_context(model="order", state="paid")
    def pay(order: Order) -> None:
        shop.runtime.clock.tick(2.5)  # type: ignore[attr-defined]

    pay(Order("o-1"))
    event: Transition = plane.published[0]
    assert event.operation.endswith("pay")
    assert (event.source, event.namespace, event.event_id, event.duration) == ("test", "default", "event-1", 2.5)
    assert event.observed_at == shop.runtime.clock.now()
