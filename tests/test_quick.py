"""The quick call does what the general one does, or leaves it to it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

from fakes import FakePlane
from hypothesis import given
from hypothesis import strategies as st
from shop import Order, OrderState

from mcp_sdk import BusinessModel, Mesh, current
from mcp_sdk.calls import Call
from mcp_sdk.context import ModelContext, Transition, Trust
from mcp_sdk.declarations import Plan, declare
from mcp_sdk.quick import QuickCall, QuickPlan
from mcp_sdk.testing import recording_mesh

STATES = ["created", "paid", "shipped", None]


class Scene(NamedTuple):
    """All that a call can meet."""

    known: str | None
    revision: int
    held: str | None
    held_id: str
    tentative: bool
    trust: Trust
    outer: bool
    by_object: bool
    in_keywords: bool
    transitions: bool
    on_error: str | None
    from_states: frozenset[str]
    touch: str
    fails: bool


SCENES = st.builds(
    Scene,
    known=st.sampled_from(STATES),
    revision=st.integers(1, 3),
    held=st.sampled_from(STATES),
    held_id=st.sampled_from(["o-1", "o-2", ""]),
    tentative=st.booleans(),
    trust=st.sampled_from([Trust.LOCAL, Trust.VERIFIED, Trust.UNSIGNED]),
    outer=st.booleans(),
    by_object=st.booleans(),
    in_keywords=st.booleans(),
    transitions=st.booleans(),
    on_error=st.sampled_from([None, "failed"]),
    from_states=st.sampled_from([frozenset(), frozenset({"created"})]),
    touch=st.sampled_from(["", "amount", "state", "bind", "publish", "other", "nested"]),
    fails=st.booleans(),
)


def model(scene: Scene) -> BusinessModel:
    """Declare the order."""
    moves = {"created": ["paid"], "paid": ["shipped"]} if scene.transitions else {}
    return BusinessModel(
        "order",
        key="number",
        state="status",
        states=OrderState,
        transitions=moves,
        attributes={"amount": "decimal"},
        python_type=Order,
    )


def business(order: Any = None, order_number: Any = None) -> None:
    """Stand for the decorated function; only its signature counts."""


def touch(mesh: Mesh, scene: Scene, order: Order) -> None:
    """Do what the business does."""
    if scene.touch == "amount":
        order.amount = Decimal(99)
    if scene.touch == "state":
        order.status = OrderState.SHIPPED
    if scene.touch == "bind":
        mesh.bind("order", "o-1", amount=Decimal(7))
    if scene.touch == "publish":
        mesh.publish("order", "o-1", state="shipped")
    if scene.touch == "other":
        mesh.publish("order", "o-9", state="shipped")
    if scene.touch == "nested":
        with mesh.entity("order", "o-1") as entity:
            entity.to("shipped", amount=Decimal(1))


def outcome(scene: Scene, *, quick: bool) -> Any:
    """Run a call the one way or the other; give what was published, and carried inside and after."""
    plane = FakePlane()
    if scene.known is not None:
        plane.hold("order", "o-1", scene.known, scene.revision, amount=1250)
    with recording_mesh(models=[model(scene)], control_plane=plane) as mesh:
        outer = current.Record(mesh) if scene.outer else None
        if outer is not None and scene.held is not None:
            held = ModelContext("order", scene.held_id, scene.held, {}, 2, scene.tentative, trust=scene.trust)
            outer.put(held)
        current.set_record(outer)
        try:
            inside = run(mesh, scene, quick=quick)
        finally:
            current.forget()
        events = [replace(event, event_id="") for event in plane.published]
        return events, inside, carried(outer), mesh.telemetry.drops.read(), mesh.telemetry.aborts.read()


def run(mesh: Any, scene: Scene, *, quick: bool) -> Any:
    """Begin, do business, end."""
    options = {"state": "paid", "on_error": scene.on_error, "from_": scene.from_states or None}
    declaration = declare(business, "order", carry=True, options=options)
    plan = Plan(declaration, mesh.models)
    order = Order("o-1")
    name, value = ("order", order) if scene.by_object else ("order_number", "o-1")
    args: tuple[Any, ...] = () if scene.in_keywords else (value,) if scene.by_object else (None, value)
    kwargs = {name: value} if scene.in_keywords else {}
    call: Call | None = None
    if quick:
        form = QuickPlan.of(mesh, [plan])
        assert form is not None
        call = QuickCall.start(form, current.record(), args, kwargs)
    call = call or Call.begin(mesh, [plan], args, kwargs)
    assert call is not None
    call.enter()
    inside = carried(call.work)
    touch(mesh, scene, order)
    if scene.fails:
        call.abort(ValueError("text"))
    else:
        call.commit(None)
    current.set_record(call.outer)
    return inside


def carried(work: current.Record | None) -> Any:
    """Give what a record holds."""
    return None if work is None else (dict(work.contexts), dict(work.settled), set(work.moved))


@given(SCENES)
def test_the_quick_call_does_what_the_general_one_does(scene: Scene) -> None:
    """Whatever the call meets: the same events, the same contexts inside and afterwards, the same counts."""
    assert outcome(scene, quick=True) == outcome(scene, quick=False)


def test_the_usual_call_is_quick(shop: Any) -> None:
    """A plain call of an object or an id does not take the general path."""
    plan = Plan(declare(business, "order", carry=True, options={"state": "paid"}), shop.models)
    form = QuickPlan.of(shop, [plan])
    assert form is not None
    assert QuickCall.start(form, None, (Order("o-1"),), {}) is not None
    assert QuickCall.start(form, None, (), {"order_number": 7}) is not None
    assert QuickCall.start(form, None, ({"number": "o-1"},), {}) is None


def test_what_is_not_usual_is_left_to_the_general_path(shop: Any) -> None:
    """Dynamic states, observers, id rules and pseudonyms have no quick form."""

    def form(**options: Any) -> QuickPlan | None:
        carry = options.pop("carry", True)
        return QuickPlan.of(shop, [Plan(declare(business, "order", carry=carry, options=options), shop.models)])

    assert form(state="paid") is not None
    assert form() is None
    assert form(state=lambda _: "paid") is None
    assert form(state="paid", id="order_number") is None
    assert form(state="paid", carry=False) is None


def test_quick_values_are_as_good_as_others(shop: Any, plane: FakePlane) -> None:
    """What the quick call makes equals, shows and replaces like what the constructors make, and is as frozen."""
    plan = Plan(declare(business, "order", carry=True, options={"state": "paid"}), shop.models)
    form = QuickPlan.of(shop, [plan])
    assert form is not None
    call = QuickCall.start(form, None, (Order("o-1"),), {})
    assert call is not None
    context = call.work.contexts["order"]
    assert type(context) is ModelContext
    assert context == ModelContext.from_dict(context.to_dict())
    assert context.facts == {"id": "o-1", "state": "paid", "amount": 1250}
    call.commit(None)
    (event,) = plane.published
    assert type(event) is Transition
    assert replace(event) == event == Transition.from_dict(event.to_dict())
