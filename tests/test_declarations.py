"""What a decorator was told, and how a call's entities are found by it."""

from __future__ import annotations

from typing import Any

import pytest
from shop import Order, OrderState

from mcp_sdk import BusinessModel, ModelError
from mcp_sdk.declarations import OF_SUBJECT, Parameters, Plan, Subject, argument, declare
from mcp_sdk.registry import Registry

ORDER = BusinessModel("order", key="number", state="status", states=OrderState, python_type=Order)


def function(first: Any, /, order: Any = None, *rest: Any, order_id: Any = "default", **more: Any) -> None:
    """Have a parameter of every kind."""


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "expected"),
    [
        ("first", (1,), {}, 1),
        ("order", (1, 2), {}, 2),
        ("order", (1,), {"order": 3}, 3),
        ("order", (1,), {}, None),
        ("order_id", (1, 2, 3), {}, "default"),
        ("order_id", (1,), {"order_id": 4}, 4),
        ("extra", (1,), {"extra": 5}, 5),
        ("extra", (1,), {}, None),
    ],
)
def test_arguments_are_found_without_binding(name: str, args: Any, kwargs: Any, expected: Any) -> None:
    """By position, by name, by default, or among the variable keywords."""
    parameters = Parameters(function)
    assert name in parameters
    assert argument(parameters.slot(name), args, kwargs) == expected


def test_what_has_no_signature_may_have_any_parameter() -> None:
    """Some built-in functions do not tell theirs."""
    assert "anything" in Parameters(type)
    assert "anything" not in Parameters(lambda one: one)


def plan(target: Any = "order", registry: Registry | None = None, **options: Any) -> Plan:
    """Resolve a declaration on ``function``."""
    models = registry if registry is not None else Registry([ORDER])
    return Plan(declare(function, target, carry=True, options=options), models)


def test_an_object_of_the_class_is_the_entity() -> None:
    """Wherever it stands among the arguments; its id is read off it."""
    order = Order("o-1")
    assert plan().subjects((order,), {}) == [Subject(ORDER, order, OF_SUBJECT)]
    assert plan().subjects((1,), {"whatever": order}) == [Subject(ORDER, order, OF_SUBJECT)]


def test_without_a_model_every_declared_object_is_an_entity_once() -> None:
    """The same object given twice is one entity; what no model declares is none."""
    one, other = Order("o-1"), Order("o-2")
    found = plan(None).subjects((one, 3, one), {"note": "x", "order_id": other})
    assert [(subject.model.name, subject.subject) for subject in found] == [("order", one), ("order", other)]


def test_a_rule_wins_over_everything() -> None:
    """``id`` says which entity, whatever object is there to be read."""
    order = Order("o-1")
    (subject,) = plan(id="order_id").subjects((order,), {"order_id": "o-9"})
    assert (subject.subject, subject.raw_id) == (order, "o-9")


def test_states_are_kept_as_text() -> None:
    """Strings and Enum members, one or several."""
    declared = declare(
        function,
        "order",
        carry=True,
        options={"from_": OrderState.CREATED, "on_error": OrderState.FAILED, "state": "paid"},
    )
    assert (declared.from_states, declared.on_error, declared.state) == ({"created"}, "failed", "paid")
    assert declare(function, "order", carry=True, options={"from_": ["a", OrderState.PAID]}).from_states == {
        "a",
        "paid",
    }


@pytest.mark.parametrize("options", [{"state": 3}, {"from_": [3]}, {"on_error": 3}, {"id": 3}])
def test_a_wrong_option_is_placed(options: dict[str, Any]) -> None:
    """The error begins with file, line and column."""
    with pytest.raises(ModelError, match=r"test_declarations.py:\d+:1: "):
        declare(function, "order", carry=True, options=options)


def test_an_enum_of_two_models_is_placed() -> None:
    """That an Enum names two models is found at the start, at the decorator's place."""
    registry = Registry([ORDER, BusinessModel("parcel", states=OrderState)])
    with pytest.raises(ModelError, match=r"test_declarations.py:\d+:1: OrderState holds the states of order, parcel"):
        plan(OrderState.PAID, registry)
