"""Declarations of business models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from enum import Enum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import Attribute, BusinessModel, ModelError
from mcp_sdk.exceptions import UnknownState
from mcp_sdk.models import state_name


class Number(Enum):
    """States whose values are no text."""

    CREATED = 1


class Text(StrEnum):
    """States that are text themselves."""

    CREATED = "created"


@pytest.mark.parametrize("state", ["created", Number.CREATED, Text.CREATED])
def test_a_state_has_one_name(state: Any) -> None:
    """However it is written."""
    assert state_name(state) == "created"


def test_a_state_is_text_or_a_member() -> None:
    """Anything else is refused, with its type."""
    with pytest.raises(ModelError, match=r"not 3 \(int\)"):
        state_name(3)


@pytest.mark.parametrize("name", ["", "Order", "1st", "a-b", "_x", "ö", "a b"])
def test_a_name_is_a_lower_case_identifier(name: str) -> None:
    """For it becomes a name in policies and baggage."""
    with pytest.raises(ModelError, match="lower-case ASCII identifier"):
        BusinessModel(name)
    with pytest.raises(ModelError, match="lower-case ASCII identifier"):
        Attribute(name)


@pytest.mark.parametrize("name", ["request", "principal", "now", "sig", "when"])
def test_reserved_names_are_refused(name: str) -> None:
    """They mean something in conditions or on the wire."""
    with pytest.raises(ModelError, match="is reserved"):
        BusinessModel(name)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Attribute("id"), "is built in"),
        (lambda: Attribute("a", "strng"), "unknown type 'strng'. Did you mean 'string'"),
        (lambda: Attribute("a", scale=10), "scale is 10"),
        (lambda: BusinessModel("o", attributes={"a": 3}), "is declared by an Attribute"),
        (lambda: BusinessModel("o", states=("a",), transitions={"a": ["b"]}), "unknown state 'b'"),
        (
            lambda: BusinessModel("o", attributes=[Attribute("status", sensitive=True)], state="status"),
            "holds the state",
        ),
        (
            lambda: BusinessModel("o", attributes=[Attribute("number", sensitive=True)], key="number"),
            "pseudonymise=True",
        ),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(make: Any, text: str) -> None:
    """With the value, and how to mend it."""
    with pytest.raises(ModelError, match=text):
        make()


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12), st.integers(0, 6))
def test_a_decimal_is_int64_of_minor_units(number: Decimal, scale: int) -> None:
    """The nearest count of minor units, halves to even, and back in major units for a person."""
    attribute = Attribute("amount", "decimal", scale=scale)
    units = attribute.capture(number)
    assert isinstance(units, int)
    assert abs(Decimal(units) - number * 10**scale) <= Decimal("0.5")
    assert Decimal(attribute.present(units)) * 10**scale == units


def test_the_applications_decimal_context_changes_no_amount() -> None:
    """An application that computes with few digits has its amounts captured, and shown, with all of theirs."""
    attribute = Attribute("amount", "decimal")
    with localcontext(prec=3):
        assert attribute.capture(Decimal("1234567.89")) == 123456789
        assert attribute.present(123456789) == "1234567.89"


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("decimal", Decimal("12.345"), 1234), ("decimal", 12, 1200), ("decimal", "12.5", 1250), ("decimal", 0.1, 10),
        ("int", 7, 7), ("double", 7, 7.0), ("bool", True, True), ("string", 7, "7"),
        ("string", Text.CREATED, "created"),
        ("list", {"b", "a"}, ("a", "b")), ("list", ["b", 1], ("b", "1")),
        ("timestamp", datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), datetime(2026, 1, 1, tzinfo=UTC)),
        ("timestamp", "2026-01-01T00:00:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("timestamp", 0, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_values_are_captured_by_their_type(kind: str, raw: Any, expected: Any) -> None:
    """What fits becomes the value that policies see."""
    assert Attribute("a", kind).capture(raw) == expected


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("decimal", True), ("decimal", "x"), ("decimal", Decimal("sNaN")), ("decimal", 10**20), ("int", True),
        ("int", "7"), ("int", 2**63), ("double", True), ("double", "x"), ("bool", 1), ("string", None),
        ("string", b"x"), ("decimal", "1e999990"), ("decimal", Decimal("-1e999990")), ("decimal", "9" * 100_000),
        ("list", "abc"), ("list", 3), ("timestamp", True), ("timestamp", "soon"), ("timestamp", float("inf")),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(kind: str, raw: Any) -> None:
    """Nothing is guessed; the message has the type and never the value."""
    with pytest.raises(ModelError, match=f"is declared {kind}, and its value is a {type(raw).__name__}"):
        Attribute("a", kind).capture(raw)


def test_moves_are_allowed_as_declared() -> None:
    """An unknown from-state, the same state, or no declared moves at all allow everything."""
    model = BusinessModel("o", states=("a", "b", "c"), transitions={"a": ["b"]})
    assert model.allows("a", "b")
    assert not model.allows("a", "c")
    assert not model.allows("b", "a")
    assert all(model.allows(start, "c") for start in (None, "c", "undeclared"))
    assert BusinessModel("o").allows("x", "y")


def test_an_unknown_state_names_the_nearest() -> None:
    """With the place, where there is one; a model without states takes any."""
    with pytest.raises(UnknownState, match=r"here: unknown state 'payed' of model 'o'. Did you mean 'paid'"):
        BusinessModel("o", states=("paid",)).check_state("payed", where="here")
    assert BusinessModel("o").check_state("payed") == "payed"


def test_a_model_goes_through_json() -> None:
    """What ``to_dict`` writes ``from_dict`` reads."""
    model = BusinessModel(
        "order", "number", "status", Text, {"created": []}, [Attribute("amount", "decimal", scale=3)], retention=5.0
    )
    again = BusinessModel.from_dict(model.to_dict())
    assert again == model
    assert again.to_dict() == model.to_dict()
    with pytest.raises(ModelError, match="Did you mean 'name'"):
        BusinessModel.from_dict({"nome": "x"})


@pytest.mark.parametrize(
    ("key", "value", "form"),
    [
        ("states", "created", "states: [created, paid]"),
        ("transitions", [{"from": "created", "to": "paid"}], "transitions: {created: [paid]}"),
        ("attributes", {"amount": "decimal"}, "attributes: [{name: amount, type: decimal}]"),
    ],
)
def test_a_declaration_of_another_form_is_shown_the_right_one(key: str, value: object, form: str) -> None:
    """Which model, which key, what was written, and how it is written."""
    with pytest.raises(ModelError) as caught:
        BusinessModel.from_dict({"name": "order", key: value})
    assert str(caught.value) == f"model 'order': {key!r} is {value!r}. Write it as {form}"
