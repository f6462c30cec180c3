"""Patterns over operations."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.operations import OperationPattern, OperationSet, OperationTemplates, operation_params


@pytest.mark.parametrize(
    ("pattern", "operation", "params"),
    [
        ("POST /orders/{order}", "POST /orders/o-1", {"order": "o-1"}),
        ("POST /orders/{order}", "post /orders/o-1/", {"order": "o-1"}),
        ("POST /orders/{order}", "GET /orders/o-1", None),
        ("POST /orders/{order}", "POST /orders", None),
        ("POST /orders/{order}", "POST /orders/", None),
        ("POST /orders/{order}", "POST /orders//", None),
        ("POST /orders/{order}", "POST /orders/a/b", None),
        ("POST /orders/{order}", "POST /Orders/a", None),
        ("POST /orders/{order}", "POST /orders/a%2Fb%20%C3%A9", {"order": "a/b é"}),
        ("POST /orders/{order}", "POST /orders/a?x=1#y", {"order": "a"}),
        ("POST /orders/{order}", "POST /orders/%ff", {"order": "\ufffd"}),
        ("* /a/{x}/b/{y}", "DELETE /a/1/b/2", {"x": "1", "y": "2"}),
        ("GET /", "GET /", {}),
        ("GET /", "GET /x", None),
        ("GET /caf%C3%A9", "GET /café", {}),
        ("* /admin/**", "PUT /admin/a/b", {}),
        ("* /admin/**", "PUT /admin", {}),
        ("* /admin/**", "PUT /administrator", None),
        ("GET /u/{user}/**", "GET /u/7/x/y", {"user": "7"}),
        ("* /**", "GET /", {}),
        ("shop.orders.pay", "shop.orders.pay", {}),
        ("shop.orders.pay", "shop.orders", None),
        ("shop.orders.pay", "GET /shop.orders.pay", None),
        ("shop.orders.*", "shop.orders.pay", {}),
        ("shop.orders.*", "shop.orders.pay.now", None),
        ("shop.**", "shop.orders.pay", {}),
        ("shop.**", "shop", None),
        ("GET /x", "", None),
        ("GET /x", "GET", None),
        ("Orders.create.<locals>.f", "Orders.create.<locals>.f", {}),
    ],
)
def test_a_pattern_gives_its_parameters_or_nothing(pattern: str, operation: str, params: dict[str, str] | None) -> None:
    """Methods compare in upper case, paths by decoded segments, and one trailing slash makes no difference."""
    assert OperationPattern.parse(pattern).match(operation) == params
    assert operation_params(pattern, operation) == params
    assert (operation in OperationSet([OperationPattern.parse(pattern)])) is (params is not None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET orders",
        "FETCH! /x",
        "GET /a/{}",
        "GET /a/{x}/{x}",
        "GET /**/a",
        "GET /a*",
        "GET /{x}y",
        "a..b",
        "/x",
        "a b",
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    """The error shows the text."""
    with pytest.raises(ConfigurationError) as caught:
        OperationPattern.parse(text)
    assert repr(text) in str(caught.value)


PIECES = ["GET", "get", "POST", " ", "/", "a", "b", "%2F", "%", "?", "#", ".", "é", "\n", "**", "shop"]


@given(operation=st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_set_holds_what_its_patterns_match(operation: str) -> None:
    """For any text a set agrees with its patterns asked one by one, and nothing raises."""
    for pattern in ("* /**", "GET /a/{x}", "shop.**", "a.b", "GET /a/**", "* /", "GET /{x}/b", "POST /a/%C3%A9"):
        parsed = OperationPattern.parse(pattern)
        assert (operation in OperationSet([parsed])) is (parsed.match(operation) is not None), pattern


def test_a_set_without_patterns_holds_everything() -> None:
    """A target without operations is the whole service."""
    assert "GET /x" in OperationSet([])


pieces = st.lists(st.sampled_from(["a", "b", "{x}", ""]), max_size=3)
paths = st.tuples(st.sampled_from(["GET", "PUT", "*"]), pieces, st.sampled_from(["", "/**"])).map(
    lambda parts: f"{parts[0]} /{'/'.join(_distinct(parts[1]))}{parts[2]}"
)
names = st.tuples(st.sampled_from(["s", "s.a", "s.b", "t"]), st.sampled_from(["", ".*", ".**"])).map("".join)


def _distinct(parts: list[str]) -> list[str]:
    return [part.replace("x", f"x{number}") for number, part in enumerate(parts)]


PATHS = ["/".join(parts) for count in range(5) for parts in product(("a", "b", "c", ""), repeat=count)]
OPERATIONS = [
    *(f"{method} /{path}" for method in ("GET", "PUT") for path in PATHS),
    *(f"{head}{tail}" for head in ("s", "s.a", "s.b", "t") for tail in ("", ".c", ".c.d")),
]


@given(one=paths | names, other=paths | names)
def test_a_pattern_that_covers_another_has_all_of_its_operations(one: str, other: str) -> None:
    """Covering and meeting are what matching shows, operation by operation."""
    first, second = OperationPattern.parse(one), OperationPattern.parse(other)
    both = [(first.match(operation) is not None, second.match(operation) is not None) for operation in OPERATIONS]
    assert not first.covers(second) or all(mine or not theirs for mine, theirs in both)
    assert first.meets(second) or not any(mine and theirs for mine, theirs in both)
    assert (
        first.covers(second)
        or one == other
        or any(theirs and not mine for mine, theirs in both)
        or not any(theirs for _, theirs in both)
    )
    assert not first.meets(second) or any(mine and theirs for mine, theirs in both)


def test_sets_cover_and_meet_by_their_patterns() -> None:
    """Without patterns a set has every operation."""

    def operations(*texts: str) -> OperationSet:
        return OperationSet(map(OperationPattern.parse, texts))

    every, some, other = operations(), operations("GET /a", "* /b/**"), operations("PUT /b/c")
    assert every.covers(some)
    assert some.covers(other)
    assert not some.covers(every)
    assert not other.covers(some)
    assert every.meets(some)
    assert some.meets(other)
    assert not operations("GET /c").meets(some)


KNOWN = (
    "* /users/{user}",
    "GET /users/me",
    "GET /users/{user}/notes/{note}",
    "GET /users/{user}/**",
    "* /files/**",
    "shop.orders.*",
    "GET /",
)


@pytest.mark.parametrize(
    ("operation", "shown"),
    [
        ("GET /users/u-1", "GET /users/{user}"),
        ("DELETE /users/u-1/?q=u-1", "DELETE /users/{user}"),
        ("GET /users/me", "GET /users/me"),
        ("GET /users/u-1/notes/n-1", "GET /users/{user}/notes/{note}"),
        ("GET /users/u-1/notes", "GET /users/{user}/**"),
        ("PUT /files/u-1/a/b", "PUT /files/**"),
        ("GET /", "GET /"),
        ("GET /u-1", "GET /**"),
        ("POST /users", "POST /**"),
        ("U-1 /users/u-1", "* /users/{user}"),
        ("U-1 u-1", "* /**"),
        ("shop.orders.pay", "shop.orders.*"),
        ("u-1", "**"),
    ],
)
def test_an_operation_is_shown_as_the_most_telling_pattern(operation: str, shown: str) -> None:
    """Literals before parameters, a whole path before a part; where nothing fits, the widest pattern."""
    assert OperationTemplates(map(OperationPattern.parse, KNOWN)).shown(operation) == shown


@given(st.text().map(lambda text: text + "u-1"), st.sampled_from(["{} /users/x", "GET /users/{}", "GET {}", "{}"]))
def test_no_word_of_a_caller_is_shown(word: str, where: str) -> None:
    """Wherever in an operation it stands."""
    assert "u-1" not in OperationTemplates(map(OperationPattern.parse, KNOWN)).shown(where.format(word))
