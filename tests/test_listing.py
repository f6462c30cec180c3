"""``listable``: what is asked, of whom, and what is answered when nothing can be."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from scripted import ScriptedPlane, SetClock

from mcp_sdk import BusinessModel, ConfigurationError, EntityRef, Mesh, ModelContext, Trust, alistable, listable
from mcp_sdk import current as work
from mcp_sdk.clock import Runtime
from mcp_sdk.decisions import Phase, Principal, RequestFacts
from mcp_sdk.exceptions import UnknownModel
from mcp_sdk.ports import Status
from mcp_sdk.residue import ALWAYS, NEVER, Compare

TEMPLATE = "GET /orders/{order}"
ANN = Principal("ann", authenticated=True)


@dataclass
class Order:
    """An order of the application's."""

    number: str
    state: str = "created"
    amount: int = 0


MODELS = (
    BusinessModel("order", key="number", attributes={"amount": "int"}, python_type=Order),
    BusinessModel("user", attributes={"tier": "string"}, principal=True),
    BusinessModel("shop"),
)


@pytest.fixture
def plane():
    """Give a control plane that leaves one test."""
    plane = ScriptedPlane()
    plane.left = Compare("amount", ">", 3)
    return plane


@pytest.fixture
def mesh(plane):
    """Give a started mesh."""
    with Mesh(service="orders", models=MODELS, control_plane=plane, runtime=Runtime(clock=SetClock())) as mesh:
        yield mesh


@pytest.fixture
def record(mesh):
    """Be inside a request of Ann's, who is about one order and one shop."""
    record = work.Record(mesh)
    record.call = work.CallFacts(ANN, request=RequestFacts("POST", "/search", host="shop.example"))
    record.contexts = {"order": ModelContext("order", "o-1"), "shop": ModelContext("shop", "s-1")}
    record.contexts["bad"] = ModelContext("bad", "1", trust=Trust.UNSIGNED)
    record.references = {"user": EntityRef("user", "ann"), "order": EntityRef("order", "o-1")}
    with work.use(record):
        yield record


def test_the_question_is_that_of_the_request_without_the_entity(record, plane) -> None:
    """Principal, request and the other contexts that may be believed are asked with; the listed model's are not."""
    residue = listable("order", TEMPLATE)
    asked = plane.requests[-1]
    assert residue.condition == plane.left
    assert (asked.service, asked.operation, asked.phase, asked.principal) == ("orders", TEMPLATE, Phase.INBOUND, ANN)
    assert (set(asked.contexts), asked.references) == ({"shop"}, (EntityRef("user", "ann"),))
    assert (asked.request.method, asked.request.path, asked.request.host) == ("GET", "/orders/{order}", "shop.example")


def test_the_operation_of_a_method_keeps_the_request(record, plane) -> None:
    """A dotted name asks in phase ``METHOD``."""
    listable(Order, "orders.read")
    assert (plane.requests[-1].phase, plane.requests[-1].request.method) == (Phase.METHOD, "POST")


def test_another_principal_brings_no_context_of_the_caller(record, plane) -> None:
    """The user that policies see is the given one, looked up; contexts that are given take part."""
    plane.looked_at = {"user"}
    plane.stored[EntityRef("user", "ben")] = ModelContext("user", "ben", None, {"tier": "gold"})
    record.contexts["user"] = ModelContext("user", "ann", None, {"tier": "basic"})
    shop = ModelContext("shop", "s-2")
    listable("order", TEMPLATE, principal=Principal("ben", authenticated=True), contexts=[shop])
    asked = plane.requests[-1].contexts
    assert (asked["user"].attributes, asked["shop"]) == ({"tier": "gold"}, shop)


def test_coroutines_await_what_is_fetched(record, plane) -> None:
    """``alistable`` asks the same."""
    plane.looked_at = {"user"}
    assert asyncio.run(alistable("order", TEMPLATE)).condition == plane.left
    assert plane.fetched == [EntityRef("user", "ann")]


def test_an_object_of_the_class_is_read(record) -> None:
    """A residue holds of objects as of contexts."""
    residue = listable(Order, TEMPLATE)
    assert [residue.holds(Order("1", amount=amount)) for amount in (3, 4)] == [False, True]


def test_what_fails_lists_nothing(mesh, plane, monkeypatch) -> None:
    """A plane that breaks, or knows no policy yet, lists nothing."""

    class Broken(ScriptedPlane):
        def residue(self, request, model):
            raise RuntimeError

    class Away(ScriptedPlane):
        left = ALWAYS

        def status(self):
            return Status.UNAVAILABLE

    for broken in (Broken(), Away()):
        with Mesh(service="orders", models=MODELS, control_plane=broken) as other, work.use(work.Record(other)):
            assert listable("order", TEMPLATE).condition == NEVER


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_what_is_not_enforced_lists_everything(plane, mode) -> None:
    """Where every call goes on, every item is listed."""
    with Mesh(service="orders", models=MODELS, control_plane=plane, mode=mode) as mesh, work.use(work.Record(mesh)):
        assert listable("order", TEMPLATE).condition == ALWAYS


def test_what_cannot_be_asked_is_an_error(mesh) -> None:
    """Unknown models and classes, the principal's model, and no mesh at all."""
    with pytest.raises(UnknownModel, match="Did you mean 'order'"):
        listable("ordr", TEMPLATE)
    with pytest.raises(ConfigurationError, match="is no class of a declared model"):
        listable(int, TEMPLATE)
    with pytest.raises(ConfigurationError, match="user is who calls"):
        listable("user", "GET /users/{user}")


def test_a_list_needs_a_mesh() -> None:
    """Without one, nobody could say."""
    with pytest.raises(ConfigurationError, match="no mesh was started"):
        listable("order", TEMPLATE)
