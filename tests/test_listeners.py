"""``mesh.on_transition``."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fakes import FakePlane
from shop import OrderState

from mcp_sdk import BusinessModel, Mesh, ModelError, Transition, current, model_context

PATIENCE = 5


class Heard:
    """Collects transitions, and waits for as many as are expected."""

    def __init__(self) -> None:
        self.events: list[Transition] = []
        self._arrived = threading.Semaphore(0)

    def __call__(self, event: Transition) -> None:
        self.events.append(event)
        self._arrived.release()

    def wait(self, count: int = 1) -> list[str | None]:
        """Give the states that were reached."""
        for _ in range(count):
            assert self._arrived.acquire(timeout=PATIENCE)
        return [event.to_state for event in self.events]


def function(heard: Heard) -> Callable[[Transition], Any]:
    """Give a plain function, for ``on_transition`` wants one it can look at."""

    def listen(event: Transition) -> None:
        heard(event)

    return listen


def test_a_listener_hears_what_it_asked_for(shop: Mesh) -> None:
    """``from_`` and ``to`` narrow; strings and Enum members are the same."""
    every, paid, from_paid, both = Heard(), Heard(), Heard(), Heard()
    shop.on_transition("order")(function(every))
    shop.on_transition("order", to="paid")(function(paid))
    shop.on_transition("order", from_=OrderState.PAID)(function(from_paid))
    shop.on_transition("order", from_="paid", to=OrderState.FAILED)(function(both))
    for state in ("created", "paid", "shipped"):
        shop.publish("order", "o-1", state=state)
    assert every.wait(3) == ["created", "paid", "shipped"]
    assert (paid.wait(), from_paid.wait()) == (["paid"], ["shipped"])
    assert both.events == []


def test_the_decorator_gives_the_function_back(shop: Mesh) -> None:
    """``on_transition`` changes nothing about the function."""
    listen = function(Heard())
    assert shop.on_transition("order")(listen) is listen


def test_aborted_and_late_transitions_are_not_heard(shop: Mesh, plane: FakePlane) -> None:
    """Listeners are told of what is true now."""
    heard = Heard()
    shop.on_transition("order")(function(heard))

    @model_context(model="order", state="paid")
    def fail(order_number: str) -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail("o-1")
    shop.publish("order", "o-1", state="shipped")
    assert heard.wait() == ["shipped"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_listener_that_fails_stops_nobody(asynchronous: bool, shop: Mesh) -> None:
    """What one raises is counted; the next hears all the same."""
    heard = Heard()
    if asynchronous:

        @shop.on_transition("order")
        async def afail(event: Transition) -> None:
            raise ValueError

    else:

        @shop.on_transition("order")
        def fail(event: Transition) -> None:
            raise ValueError

    shop.on_transition("order")(function(heard))
    shop.publish("order", "o-1", state="paid")
    assert heard.wait() == ["paid"]
    assert shop.telemetry.drops.read() == {("listener", "internal_error"): 1}


def test_coroutines_run_on_the_loop_of_the_application(plane: FakePlane) -> None:
    """Where the mesh was started on a loop, coroutine functions run there."""

    async def main() -> None:
        mesh = Mesh(service="shop", control_plane=plane)
        async with mesh:
            arrived: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()

            @mesh.on_transition("order")
            async def listen(event: Transition) -> None:
                await arrived.put((asyncio.get_running_loop(), event.to_state))

            mesh.publish("order", "o-1", state="paid")
            assert await asyncio.wait_for(arrived.get(), PATIENCE) == (asyncio.get_running_loop(), "paid")

    asyncio.run(main())


def test_a_coroutine_runs_without_a_loop_too(shop: Mesh) -> None:
    """In a process without one, the listeners' thread runs it."""
    heard = Heard()

    @shop.on_transition("order")
    async def listen(event: Transition) -> None:
        await asyncio.sleep(0)
        heard(event)

    shop.publish("order", "o-1", state="paid")
    assert heard.wait() == ["paid"]


def test_a_listener_starts_with_nothing_of_the_request(shop: Mesh) -> None:
    """Listeners run in a fresh context: no record, no variables of the request that published."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[Any] = []
    heard = Heard()

    @shop.on_transition("order")
    def listen(event: Transition) -> None:
        seen.append((current.record(), variable.get("nothing")))
        heard(event)

    variable.set("request")
    with current.use(current.Record(shop)):
        shop.publish("order", "o-1", state="paid")
    heard.wait()
    assert seen == [(None, "nothing")]


def test_after_close_nothing_is_heard(plane: FakePlane) -> None:
    """A mesh that is closed calls nobody, and closing twice is nothing."""
    heard = Heard()
    mesh = Mesh(service="shop", control_plane=plane).start()
    mesh.on_transition("order")(function(heard))
    mesh.close()
    mesh.close()
    with Mesh(service="other", control_plane=plane) as other:
        other.publish("order", "o-1", state="paid")
    assert heard.events == []


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("ordr", {}, "unknown model 'ordr'. Did you mean 'order'"),
        ("order", {"to": "payed"}, "unknown state 'payed'"),
        ("order", {"from_": "payed"}, "unknown state 'payed'"),
    ],
)
def test_a_listener_that_nothing_could_reach_is_an_error_at_start(
    model: str, options: Any, message: str, plane: FakePlane
) -> None:
    """A misspelt model or state is told with the function's place, instead of silence."""
    mesh = Mesh(service="shop", control_plane=plane, models=[BusinessModel("order", states=OrderState)])
    mesh.on_transition(model, **options)(function(Heard()))
    with pytest.raises(ModelError, match=rf"test_listeners.py:\d+:1: {message}"):
        mesh.start()
