"""Types of captured functions, for mypy and pyright; ``tests/test_typing.py`` runs mypy over it. Never imported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum
from typing import assert_type

from mcp_sdk import BusinessModel, Mesh, context_observer, model_context


class State(Enum):
    """States."""

    PAID = "paid"


class Order:
    """A class."""


mesh = Mesh(service="shop")


@mesh.model
class Cart:
    """A declared class."""

    id: str = ""


@mesh.model(name="basket", key="number", state="status", attributes=["amount"])
class Basket:
    """A declared class with options."""

    number: str = ""


@model_context
def bare(order: Order, *, note: str = "") -> int:
    """Be bare."""
    return 1


@model_context(model="order", state="paid", from_={"created"}, on_error=State.PAID, id="order.number", span=True)
def called(order: Order, *, note: str = "") -> int:
    """Be called."""
    return 1


@model_context(Order, state=lambda result: "paid" if result else None)
async def asynchronous(order: Order) -> str:
    """Be a coroutine."""
    return ""


@model_context(State.PAID)
def generator(order: Order) -> Iterator[int]:
    """Be a generator."""
    yield 1


@context_observer()
async def asynchronous_generator(order: Order) -> AsyncIterator[int]:
    """Be an asynchronous generator."""
    yield 1


class Desk:
    """Methods."""

    @model_context(model="order")
    def method(self, order: Order) -> int:
        """Be a method."""
        return 1

    @staticmethod
    @context_observer
    def static(order: Order) -> int:
        """Be static."""
        return 1

    @classmethod
    @context_observer(model="order", id=lambda order: order)
    def of_class(cls, order: Order) -> int:
        """Be of the class."""
        return 1


assert_type(Cart().id, str)
assert_type(Basket().number, str)
assert_type(mesh.model(BusinessModel("order")), BusinessModel)
mesh.model("order")  # type: ignore[call-overload]
assert_type(bare(Order(), note="x"), int)
assert_type(called(Order(), note="x"), int)
assert_type(generator(Order()), Iterator[int])
assert_type(asynchronous_generator(Order()), AsyncIterator[int])
assert_type(Desk().method(Order()), int)
assert_type(Desk.static(Order()), int)
assert_type(Desk.of_class(Order()), int)
checked: Callable[[Order], int] = called


async def awaited() -> None:
    """Await one."""
    assert_type(await asynchronous(Order()), str)


bare("order")  # type: ignore[arg-type]
called(Order(), nope=1)  # type: ignore[call-arg]
Desk().method()  # type: ignore[call-arg]
model_context(model="order", sate="paid")  # type: ignore[call-overload]
context_observer(state="paid")  # type: ignore[call-overload]
