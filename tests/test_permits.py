"""``@requires_permit`` in front of methods."""

import asyncio
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from scripted import ScriptedPlane, SetClock

from mcp_sdk import BusinessModel, ConfigurationError, Decision, Denied, EntityRef, Mesh, ModelContext, Refused
from mcp_sdk import current as work
from mcp_sdk.clock import Runtime
from mcp_sdk.decisions import Phase, Principal
from mcp_sdk.permits import permit_operation, requires_permit


@dataclass
class Order:
    """An order of the application's."""

    number: str
    state: str = "created"
    amount: int = 0


@dataclass
class User:
    """A user of the application's."""

    id: str
    tier: str = "vip"


MODELS = (
    BusinessModel("order", key="number", attributes={"amount": "int"}, python_type=Order),
    BusinessModel("user", attributes={"tier": "string"}, principal=True, python_type=User),
)


@pytest.fixture
def plane():
    """Give a control plane that permits everything until it is told otherwise."""
    return ScriptedPlane()


@pytest.fixture
def mesh(plane):
    """Give a started mesh."""
    with Mesh(service="orders", models=MODELS, control_plane=plane, runtime=Runtime(clock=SetClock())) as mesh:
        yield mesh


@pytest.fixture
def refusing(plane):
    """Make the plane refuse everything."""
    plane.rule = lambda _: Decision(Denied("no"))


@requires_permit
def plain(order=None):
    """Do something."""
    return order


@requires_permit("orders.ship")
async def coroutine(order=None):
    """Do something asynchronously."""
    return order


@requires_permit(operation="orders.lines")
def generator(order=None):
    """Give lines."""
    yield order


@requires_permit("orders.alines")
async def async_generator(order=None):
    """Give lines asynchronously."""
    got = yield order
    yield got


class Shop:
    """Methods of every kind."""

    @requires_permit("shop.method")
    def method(self, order=None):
        return order

    @requires_permit("shop.static")
    @staticmethod
    def static(order=None):
        return order

    @classmethod
    @requires_permit("shop.klass")
    def klass(cls, order=None):
        return order


async def collected(items):
    """Collect what an asynchronous generator gives."""
    return [item async for item in items]


CALLS = {
    "plain": plain,
    "coroutine": lambda order=None: asyncio.run(coroutine(order)),
    "generator": lambda order=None: next(generator(order)),
    "async_generator": lambda order=None: asyncio.run(collected(async_generator(order)))[0],
    "method": lambda order=None: Shop().method(order),
    "static": Shop.static,
    "klass": Shop.klass,
}


@pytest.fixture(params=list(CALLS))
def invoke(request):
    """Give each kind of decorated callable."""
    return CALLS[request.param]


def test_a_permitted_method_runs(mesh, plane, invoke):
    """It gets its arguments, and the question was of phase METHOD."""
    assert invoke("x") == "x"
    assert plane.requests[0].phase is Phase.METHOD


def test_a_refused_method_does_not_run(mesh, refusing, invoke):
    """``Refused`` carries the decision."""
    with pytest.raises(Refused) as caught:
        invoke("x")
    assert caught.value.decision.verdict.message == "no"


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_outside_enforce_everything_runs(plane, refusing, invoke, mode):
    """Observing asks and goes on; off does not ask."""
    with Mesh(service="orders", models=MODELS, control_plane=plane, mode=mode):
        assert invoke("x") == "x"
    assert len(plane.requests) == (mode == "observe")


def test_without_a_mesh_no_permit_is_assumed(invoke):
    """Nobody could give one, and the message says how to mend it."""
    with pytest.raises(ConfigurationError, match=r"mesh.start\(\)"):
        invoke("x")


def test_the_operation_is_the_dotted_name_or_the_one_given(mesh, plane):
    """And can be looked up, for documentation and checks."""
    plain()
    asyncio.run(coroutine())
    assert [request.operation for request in plane.requests] == [f"{__name__}.plain", "orders.ship"]
    assert permit_operation(generator) == "orders.lines"
    assert permit_operation(print) == ""


def test_a_failure_of_the_decision_refuses(mesh, plane):
    """What cannot be decided is not permitted."""
    plane.rule = lambda _: 1 / 0
    with pytest.raises(Refused):
        plain()


def test_objects_of_declared_classes_are_looked_at(mesh, plane):
    """Their id, state and attributes are the context."""
    plain(Order("o-1", "paid", 5))
    context = plane.requests[0].contexts["order"]
    assert (context.entity_id, context.state, dict(context.attributes)) == ("o-1", "paid", {"amount": 5})


def test_an_object_that_differs_from_what_is_stored_is_tentative(mesh, plane):
    """A change that nobody stored grants nothing by itself."""
    ref = EntityRef("order", "o-1")
    plane.cache[ref] = ModelContext("order", "o-1", "created", {"amount": 5}, 3)
    plain(Order("o-1", "paid", 5))
    plain(Order("o-1", "created", 5))
    tentative = [request.contexts["order"].tentative for request in plane.requests]
    assert tentative == [True, False]
    assert plane.requests[0].contexts["order"].state == "paid"


def test_an_argument_that_names_an_entity_is_looked_up(mesh, plane):
    """``order``, ``order_id`` and ``order_<key>`` are ids."""

    @requires_permit("x")
    def ship(order_number):
        return order_number

    ref = EntityRef("order", "o-1")
    plane.looked_at, plane.stored[ref] = {"order"}, ModelContext("order", "o-1", "paid", {}, 3)
    ship("o-1")
    assert plane.requests[0].contexts["order"].state == "paid"


def test_the_request_s_contexts_and_caller_are_seen(mesh, plane):
    """What the middleware learned of the request counts in its methods."""
    record = work.Record(mesh)
    record.put(ModelContext("order", "o-1", "paid", {}, 3))
    record.call.principal = Principal("u-1", authenticated=True)
    with work.use(record):
        plain()
    assert plane.requests[0].contexts["order"].entity_id == "o-1"
    assert plane.requests[0].principal.id == "u-1"


def test_a_named_entity_takes_the_place_of_another_one_s_context(mesh, plane):
    """The call is about the entity that it names, not about the request's other one."""
    record = work.Record(mesh)
    record.put(ModelContext("order", "o-1", "paid", {}, 3))
    with work.use(record):
        plain("o-2")
    assert "order" not in plane.requests[0].contexts
    assert plane.requests[0].references == (EntityRef("order", "o-2"),)


@pytest.mark.parametrize(("principal", "seen"), [("u-1", True), ("u-2", False), ("", False)])
def test_an_argument_does_not_say_who_calls(mesh, plane, principal, seen):
    """A user that is passed along counts only when it is the authenticated one."""

    @requires_permit("x")
    def greet(user):
        return user

    record = work.Record(mesh)
    record.call.principal = Principal(principal, authenticated=bool(principal))
    with work.use(record):
        greet(User("u-1"))
    assert ("user" in plane.requests[0].contexts) is seen


def test_signatures_are_preserved():
    """Frameworks that inject by signature see the method's own."""
    assert str(inspect.signature(coroutine)) == "(order=None)"
    assert inspect.iscoroutinefunction(coroutine)
    assert plain.__doc__ == "Do something."


def test_what_is_sent_to_an_asynchronous_generator_arrives(mesh):
    """The decorator stands aside once the permit is given."""

    async def talk():
        items = async_generator("a")
        return [await items.asend(None), await items.asend("b")]

    assert asyncio.run(talk()) == ["a", "b"]
