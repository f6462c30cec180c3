"""Generated code against cel-cpp: the same typed expression, the same facts, the same value or an error in both."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest, Geo, Principal, RequestFacts
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.codegen import compile_shape
from mcp_sdk.policy.cel.environment import Environment
from mcp_sdk.policy.cel.moments import Duration, Timestamp
from mcp_sdk.policy.cel.shapes import clause_shapes, shape_of
from mcp_sdk.policy.cel.syntax import decode

cel = pytest.importorskip("cel_expr_python.cel")
timestamp_pb2 = pytest.importorskip("google.protobuf.timestamp_pb2")

EXAMPLES = int(os.environ.get("MCP_SDK_TEST_EXAMPLES", "2000"))
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MODEL = BusinessModel(
    "order",
    attributes={
        "amount": "decimal",
        "items": "int",
        "ratio": "double",
        "express": "bool",
        "channel": "string",
        "tags": "list",
        "paid_at": "timestamp",
    },
)
STRINGS = ["", "a", "web", "created", "é😀", "web.shop"]
INTS = [0, 1, -1, 2, 7, 2**31, 2**63 - 1, -(2**63)]
DOUBLES = [0.0, -0.0, 1.5, -2.0, 1e300, math.inf, math.nan]
MOMENTS = [NOW, NOW - timedelta(hours=3), datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC)]


def written(value: Any) -> str:
    """Write a constant as CEL does."""
    if isinstance(value, float):
        return "(0.0/0.0)" if math.isnan(value) else "(1.0/0.0)" if math.isinf(value) else repr(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def one_of(*texts: str) -> st.SearchStrategy[str]:
    """Choose one of some texts."""
    return st.sampled_from(texts)


def form(pattern: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Fill generated parts into ``{}`` of a pattern."""
    return st.tuples(*parts).map(lambda filled: pattern.format(*filled))


def choose(kind: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Choose by a condition between two expressions of a kind."""
    return form("({} ? {} : {})", bools, kind, kind)


bools: st.SearchStrategy[str] = st.deferred(lambda: bool_leaves | bool_trees)
ints: st.SearchStrategy[str] = st.deferred(lambda: int_leaves | int_leaves | int_trees)
doubles: st.SearchStrategy[str] = st.deferred(lambda: double_leaves | double_leaves | double_trees)
strings: st.SearchStrategy[str] = st.deferred(lambda: string_leaves | string_leaves | string_trees)
lists: st.SearchStrategy[str] = st.deferred(lambda: list_leaves | list_trees)
moments = one_of("now", "order.paid_at", "timestamp('2026-11-22T10:00:00.5Z')", "(order.paid_at + duration('90m'))")
durations = one_of("duration('1h30m')", "(now - order.paid_at)", "duration('-0.5s')")

compared = one_of("==", "!=", "<", "<=", ">", ">=")
int_leaves = one_of("order.items", "order.amount", "request.size", "size(order.tags)") | st.sampled_from(INTS[:-1]).map(
    written
)
double_leaves = one_of("order.ratio") | st.sampled_from(DOUBLES).map(written)
string_leaves = one_of(
    "order.state", "order.channel", "order.id", "request.geo.country", "principal.id"
) | st.sampled_from(STRINGS).map(written)
# cel-cpp writes the sign of a NaN, which is the machine's (0.0/0.0 is "-nan" on x86); we write "nan".
plain_doubles = one_of("order.ratio", "-0.0", "0.1", "1e300", "123456789.125", "(1.0/0.0)")
list_leaves = one_of("order.tags", "principal.roles", "['a', 'web']", "[order.channel, 'a']", "[]")
facts = one_of("state", "id", "items", "amount", "ratio", "express", "channel", "tags", "paid_at")
bool_leaves = (
    one_of("true", "false", "order.express", "principal.mfa")
    | form("has(order.{})", facts)
    | form("({} {} {})", string_leaves, compared, string_leaves)
    | form("(has(order.{}) && order.items > {})", facts, int_leaves)
    | form("({} in ['created', 'web', 'a'])", string_leaves)
    | form("({} {} {})", int_leaves, compared, int_leaves)
)
bool_trees = (
    form("({} && {})", bools, bools)
    | form("({} || {})", bools, bools)
    | form("!{}", bools)
    | choose(bools)
    | form("({} {} {})", ints, compared, ints)
    | form("({} {} {})", doubles, compared, doubles)
    | form("({} {} {})", strings, compared, strings)
    | form("({} {} {})", moments, compared, moments)
    | form("({} {} {})", durations, compared, durations)
    | form("({} == {})", bools, bools)
    | form("({} == {})", lists, lists)
    | form("({} in {})", strings, lists)
    | form("({} in [1, 2, 7])", ints)
    | form("{}.{}({})", strings, one_of("startsWith", "endsWith", "contains", "matches"), string_leaves)
    | form("{}.{}(x, x {} {})", lists, one_of("all", "exists", "exists_one"), compared, string_leaves)
    | form("{}.{}(x, x == order.channel {} {})", lists, one_of("all", "exists"), one_of("&&", "||"), bools)
    | form("(dyn({}) == dyn({}))", ints, doubles)
    | form("(dyn({}) < dyn({}))", ints, doubles)
    | form("(dyn({}) == {})", strings, strings)
    | form("({{'a': {}, 'b': 2}}.a {} {})", ints, compared, ints)
    | form("([{}, {}][{}] {} 1)", ints, ints, int_leaves, compared)
    | form("(type({}) == {})", ints, one_of("int", "string", "double"))
)
int_trees = (
    form("({} {} {})", ints, one_of("+", "-", "*", "/", "%"), ints)
    | form("-({})", ints)
    | form("size({})", strings | lists)
    | form("int({})", doubles | strings | moments)
    | form(
        "{}.{}()",
        moments,
        one_of("getHours", "getDayOfWeek", "getFullYear", "getMonth", "getDayOfYear", "getMilliseconds"),
    )
    | form("{}.{}()", durations, one_of("getHours", "getMinutes", "getSeconds", "getMilliseconds"))
    | choose(ints)
)
double_trees = (
    form("({} {} {})", doubles, one_of("+", "-", "*", "/"), doubles) | form("double({})", ints) | choose(doubles)
)
string_trees = form("({} + {})", strings, strings) | form("string({})", ints | plain_doubles | bools) | choose(strings)
list_trees = (
    form("({} + {})", lists, lists)
    | form("{}.filter(x, x {} {})", lists, compared, string_leaves)
    | form("{}.map(x, x + {})", lists, string_leaves)
    | form("[{}, {}]", strings, strings)
)

held = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(STRINGS),
        "id": st.sampled_from(STRINGS[1:]),
        "items": st.sampled_from(INTS),
        "amount": st.sampled_from(INTS),
        "ratio": st.sampled_from(DOUBLES),
        "express": st.booleans(),
        "channel": st.sampled_from(STRINGS),
        "tags": st.lists(st.sampled_from(STRINGS), max_size=3).map(tuple),
        "paid_at": st.sampled_from(MOMENTS),
    },
)
requests = st.builds(
    DecisionRequest,
    service=st.just("s"),
    now=st.just(NOW),
    request=st.builds(
        RequestFacts, size=st.sampled_from([-1, 7]), geo=st.builds(Geo, country=st.sampled_from(["", "a"]))
    ),
    principal=st.builds(
        Principal,
        id=st.sampled_from(STRINGS),
        mfa=st.booleans(),
        roles=st.lists(st.sampled_from(STRINGS), max_size=2).map(tuple),
    ),
)

ENVIRONMENT = Environment({"order": MODEL})
ANY = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
ORACLE = cel.NewEnv(
    variables={"order": ANY, "request": ANY, "principal": ANY, "source": ANY, "now": cel.Type.TIMESTAMP},
)


def bound(value: Any) -> Any:
    """Give a fact as cel-cpp takes it without a declared type."""
    if isinstance(value, datetime):
        message = timestamp_pb2.Timestamp()
        message.FromDatetime(value)
        return message
    return list(value) if isinstance(value, tuple) else value


def oracle(serialised: bytes, facts: Mapping[str, Any], request: DecisionRequest) -> tuple[str, Any]:
    """Evaluate the same checked tree over maps, in which absence is an error."""
    data = {
        "order": {name: bound(value) for name, value in facts.items()},
        "request": {"size": request.request.size, "geo": {"country": request.request.geo.country}},
        "principal": {"id": request.principal.id, "mfa": request.principal.mfa, "roles": list(request.principal.roles)},
        "source": {},
        "now": bound(request.now),
    }
    try:
        value = ORACLE.deserialize(serialised).eval(data=data)
    except RuntimeError:
        return "ERROR", None
    kind = value.type().name()
    return ("ERROR", None) if "ERROR" in str(value.type()) else (kind, value.plain_value())


def plain(value: Any) -> Any:
    """Give our value as cel-cpp's ``plain_value`` does."""
    if isinstance(value, (Timestamp, Duration)):
        return value.nanoseconds
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def contexts_of(facts: Mapping[str, Any]) -> dict[str, ModelContext]:
    """Hold the facts as a context."""
    attributes = {name: value for name, value in facts.items() if name not in ("id", "state")}
    return {"order": ModelContext("order", facts.get("id", ""), facts.get("state"), attributes)}


MISSED = object()


def evaluate(condition: Any, contexts: Any, request: Any) -> Any:
    """Run our code; an error is ``MISSED``."""
    try:
        return condition(contexts, request)
    except Exception:
        return MISSED


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=bools, facts=held, request=requests)
def test_generated_code_agrees_with_cel_cpp(text: str, facts: Mapping[str, Any], request: DecisionRequest) -> None:
    """The value, the grant (true only) and the refusal (anything but false) are what cel-cpp's result implies."""
    try:
        serialised = ENVIRONMENT.check(text, {})
    except RuntimeError:
        return
    expression = shape_of(decode(serialised), {})
    row = {"expr": expression.shape, "params": list(expression.params)}
    kind, expected = oracle(serialised, facts, request)
    contexts = contexts_of(facts)
    results = {
        mode: evaluate(compile_shape(row, mode, name="test")(*expression.constants), contexts, request)
        for mode in ("value", "true", "unless")
    }
    if kind == "ERROR":
        assert results == {"value": MISSED, "true": False, "unless": True}, text
    else:
        assert results == {"value": expected, "true": expected is True, "unless": expected is not False}, text


@settings(max_examples=max(EXAMPLES // 8, 1), deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(bools, min_size=2, max_size=4), facts=held, request=requests, some=st.sets(st.integers(0, 6)))
def test_clauses_that_are_known_to_hold_may_be_left_out(
    parts: list[str], facts: Mapping[str, Any], request: DecisionRequest, some: set[int]
) -> None:
    """A conjunction less clauses that are true, or that do not say no, grants or refuses as the whole does."""
    try:
        expression = shape_of(decode(ENVIRONMENT.check(" && ".join(parts), {})), {})
    except RuntimeError:
        return
    contexts, params = contexts_of(facts), list(expression.params)

    def matches(shape: Any, mode: str, given: frozenset[int] = frozenset()) -> Any:
        factory = compile_shape({"expr": shape, "params": params}, mode, name="test", given=given)
        return evaluate(factory(*expression.constants), contexts, request)

    for mode in ("true", "unless"):
        clauses = enumerate(clause_shapes(expression.shape))
        given = frozenset(number for number, clause in clauses if number in some and matches(clause, mode) is True)
        assert matches(expression.shape, mode, given) is matches(expression.shape, mode), parts
