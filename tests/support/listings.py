"""Generated policies, callers and rows, on which lists are compared with a decision on each item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from mcp_sdk.context import ModelContext, Trust
from mcp_sdk.decisions import DecisionRequest, Phase, Principal
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import compile_policies
from mcp_sdk.policy.engine import Engine

NOW = datetime(2026, 11, 22, 12, 0, 0, 500, tzinfo=UTC)
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "aB",
    "%",
    "_",
    "a%b",
    "a_b",
    "\\",
    "a\\",
    "'",
    '"',
    "é",
    "e\u0301",
    "😀",
    "a😀",
    " a",
    "a ",
]
STATES = ("created", "paid", "shipped")
ATTRIBUTES = {
    "amount": "decimal",
    "items": "int",
    "ratio": "double",
    "express": "bool",
    "paid_at": "timestamp",
    "channel": "string",
}
USER = BusinessModel("user", attributes={"tier": "string", "limit": "decimal"}, principal=True)
HEAD = "apiVersion: mesh.mcp-sdk.dev/v1alpha1\nkind: AccessPolicy\n"

quoted = st.sampled_from(TEXTS).map(lambda text: json.dumps(text, ensure_ascii=False))
compared = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
equal = st.sampled_from(["==", "!="])
moments = ["timestamp('2026-11-22T12:00:00.0005Z')", "timestamp('2026-11-22T12:00:00.000500001Z')"]
moments += ["now", "now - duration('24h')", "user.limit > 0 ? now : timestamp('2026-11-22T12:00:00Z')"]


def _text_tests(field: str) -> st.SearchStrategy[str]:
    known = st.one_of(quoted, st.sampled_from(["principal.id", "user.tier", "principal.attributes.region"]))
    return st.one_of(
        st.builds(lambda op, value: f"order.{field} {op} {value}", equal, known),
        st.builds(
            lambda name, value: f"order.{field}.{name}({value})",
            st.sampled_from(["startsWith", "endsWith", "contains"]),
            st.one_of(quoted, st.just("user.tier")),
        ),
        st.builds(lambda op, count: f"size(order.{field}) {op} {count}", compared, st.integers(-1, 3)),
        st.builds(lambda values: f"order.{field} in [{', '.join(values)}]", st.lists(quoted, min_size=1, max_size=3)),
        st.just(f"order.{field} in principal.roles"),
        st.just(f"order.{field} in principal.attributes.regions"),
    )


def _number_tests() -> st.SearchStrategy[str]:
    amount = st.sampled_from(["0", "10", "10.5", "99.99", "-5.01", "user.limit"])
    ints = st.sampled_from(["0", "1", "-1", "3", "9223372036854775807", "request.size"])
    doubles = st.sampled_from(["0.0", "1.5", "-1.5", "1e300", "1.0 / 0.0", "0.0 / 0.0"])
    return st.one_of(
        st.builds(lambda op, value: f"order.amount {op} {value}", compared, amount),
        st.builds(lambda op, value: f"{value} {op} order.amount", compared, amount),
        st.builds(lambda op, value: f"order.items {op} {value}", compared, ints),
        st.builds(lambda op, value: f"order.ratio {op} {value}", compared, doubles),
        st.builds(lambda op, value: f"order.paid_at {op} ({value})", compared, st.sampled_from(moments)),
        st.just("order.items in [1, 3]"),
        st.just("order.amount in [10, 99.99]"),
        st.just("order.items == principal.attributes.region"),
    )


known_tests = st.sampled_from(
    ["user.tier == 'a'", "has(user.tier)", "principal.mfa", "principal.id == 'a'", "'a' in principal.roles", "true"]
)
state_tests = st.one_of(
    st.builds(lambda op, state: f"order.state {op} '{state}'", equal, st.sampled_from(STATES)),
    st.just("order.state in ['created', 'shipped']"),
    st.just("order.state.startsWith('p')"),
)
flag_tests = st.sampled_from(
    ["order.express", "order.express == false", "order.express != principal.mfa", "order.express < true"]
)
presence = st.sampled_from(["id", "state", *ATTRIBUTES]).map(lambda field: f"has(order.{field})")
id_tests = st.builds(lambda op, value: f"order.id {op} {value}", equal, st.one_of(quoted, st.just("principal.id")))
translatable = st.one_of(
    _text_tests("channel"), _number_tests(), known_tests, state_tests, flag_tests, presence, id_tests
)
opaque = st.sampled_from(
    [
        "order.items * 2 > 5",
        "order.items + 1 > 0",
        "order.channel.matches('a.*')",
        "order.channel == order.id",
        "'a' in order.tags",
        "order.tags.exists(tag, tag == 'a')",
        "principal.roles.exists(role, role == order.channel)",
        "order.channel < 'b'",
        "now - order.paid_at > duration('24h')",
    ]
)


def _joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(lambda a, b: f"({a}) && ({b})", inner, inner),
        st.builds(lambda a, b: f"({a}) || ({b})", inner, inner),
        st.builds(lambda a: f"!({a})", inner),
        st.builds(lambda a, b, c: f"(({a}) ? ({b}) : ({c}))", inner, inner, inner),
        st.builds(lambda a, b: f"(({a}) == ({b}))", inner, known_tests),
    )


def _rules(conditions: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    effects = st.sampled_from(["permit", "permit", "deny", "review", "step_up"])
    rule = st.builds(_rule, conditions, effects)
    return st.lists(rule, min_size=1, max_size=3)


def _rule(when: str, effect: str) -> dict[str, Any]:
    return {"when": when, "effect": effect, **({"by": "somebody"} if effect == "review" else {})}


def policies(atoms: st.SearchStrategy[str], operations: tuple[str, ...] = ("orders.read",)) -> st.SearchStrategy[str]:
    """Write one to three policies of the target."""
    conditions = st.recursive(atoms, _joined, max_leaves=5)
    spec = st.builds(
        lambda rules, default, targets: {
            "target": {"service": "orders", "operations": targets},
            "default": default,
            "rules": [{"name": f"r{number}", **rule} for number, rule in enumerate(rules)],
        },
        _rules(conditions),
        st.sampled_from(["deny", "deny", "permit"]),
        st.lists(st.sampled_from(operations), min_size=1, max_size=2, unique=True),
    )
    return st.lists(spec, min_size=1, max_size=3).map(_written)


def _written(specs: list[dict[str, Any]]) -> str:
    return "---\n".join(
        f"{HEAD}metadata: {{name: p{number}}}\nspec: {json.dumps(spec, ensure_ascii=False)}\n"
        for number, spec in enumerate(specs)
    )


def engine(text: str, order: BusinessModel) -> Engine:
    """Compile policies, and load them."""
    models = {"order": order, "user": USER}
    return Engine(compile_policies({"p.yaml": text}, models), models)


principals = st.builds(
    Principal,
    id=st.sampled_from(TEXTS),
    mfa=st.booleans(),
    roles=st.sampled_from([(), ("a", "%")]),
    attributes=st.sampled_from([{}, {"region": "a"}, {"region": 3}, {"region": True, "regions": ("a", "é", 3)}]),
)
users = st.one_of(
    st.none(),
    st.builds(
        lambda attributes, tentative: ModelContext("user", "u-1", None, attributes, tentative=tentative),
        st.sampled_from([{}, {"tier": "a"}, {"tier": "%", "limit": 1050}, {"limit": -501}]),
        st.booleans(),
    ),
)


def request(principal: Principal, user: ModelContext | None, operation: str = "orders.read") -> DecisionRequest:
    """Make a call in which everything but the order is known."""
    phase = Phase.INBOUND if " " in operation else Phase.METHOD
    contexts = {} if user is None else {"user": user}
    return DecisionRequest("orders", operation, phase, contexts, principal=principal, now=NOW)


amounts = ["0", "10", "10.50", "99.99", "-5.01", "-5.02", "12345678.9", "100"]
rows = st.fixed_dictionaries(
    {
        "state": st.sampled_from([None, *STATES]),
        "amount": st.one_of(st.none(), st.sampled_from(amounts).map(Decimal)),
        "items": st.one_of(st.none(), st.sampled_from([0, 1, 2, 3, -1, 2**63 - 1, -(2**63)])),
        "ratio": st.one_of(st.none(), st.sampled_from([0.0, 1.5, -1.5, 1e300, float("inf"), float("-inf")])),
        "express": st.sampled_from([None, True, False]),
        "paid_at": st.one_of(
            st.none(),
            st.sampled_from(
                [NOW, NOW + timedelta(microseconds=1), NOW - timedelta(hours=24), NOW.replace(microsecond=0)]
            ),
        ),
        "channel": st.one_of(
            st.none(), st.sampled_from(TEXTS), st.builds(str.__add__, st.sampled_from(TEXTS), st.sampled_from(TEXTS))
        ),
    }
)
tables = st.lists(rows, min_size=1, max_size=12)
ids = [*TEXTS[1:], "o-1", "o-2", "o/3"]


def context(facts: Mapping[str, Any], entity_id: str) -> ModelContext:
    """Give a row's context, as the store would."""
    attributes = {name: value for name, value in facts.items() if value is not None and name != "state"}
    if "amount" in attributes:
        attributes["amount"] = int(attributes["amount"] * 100)
    return ModelContext("order", entity_id, facts["state"], attributes, 1, trust=Trust.STORE)
