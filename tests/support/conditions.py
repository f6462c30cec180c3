"""Generated conditions on an order, and calls that carry the facts they test."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest, Geo, Principal, RequestFacts
from mcp_sdk.models import BusinessModel

ATTRIBUTES = {"channel": "string", "amount": "int", "ratio": "double", "vip": "bool", "other": "string"}
MODELS = {"order": BusinessModel("order", attributes=ATTRIBUTES)}
STRINGS = ["", "a", "ab", "abc", "b"]
NUMBERS = [-1, 0, 1, 2, 2**63 - 1]
DOUBLES = [-math.inf, -0.0, 0.0, 1.5, math.inf, math.nan]
comparison = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
quoted = st.sampled_from([f"'{text}'" for text in STRINGS])
words = st.sampled_from(["order.channel", "order.state", "request.geo.country"])
clause = st.one_of(
    st.tuples(words, comparison, quoted).map(" ".join),
    st.tuples(quoted, comparison, words).map(" ".join),
    st.tuples(st.just("order.amount"), comparison, st.sampled_from(["-1", "0", "1", "2"])).map(" ".join),
    st.tuples(st.just("order.ratio"), comparison, st.sampled_from(["0.0", "1.5", "-2.0"])).map(" ".join),
    st.tuples(words, st.lists(quoted, max_size=3)).map(lambda pair: f"{pair[0]} in [{', '.join(pair[1])}]"),
    st.tuples(words, quoted).map(lambda pair: f"{pair[0]}.startsWith({pair[1]})"),
    st.sampled_from(["order.amount in [1, 2]", "order.ratio in [0.0, 1.5]", "true", "false"]),
    st.sampled_from(["order.vip", "order.vip == true", "order.vip != true", "principal.mfa"]),
    st.sampled_from(["has(order.channel)", "has(order.vip)", "has(request.geo.country)"]),
    st.sampled_from(["order.channel == order.other", "order.channel.contains('b')", "size(order.state) > 1"]),
)
condition = st.recursive(
    clause,
    lambda part: st.one_of(
        st.tuples(part, part).map(lambda pair: f"({pair[0]} && {pair[1]})"),
        st.tuples(part, part).map(lambda pair: f"({pair[0]} || {pair[1]})"),
        part.map(lambda text: f"!({text})"),
    ),
    max_leaves=6,
)
held = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(STRINGS[1:]),
        "channel": st.sampled_from(STRINGS),
        "other": st.sampled_from(STRINGS),
        "amount": st.sampled_from(NUMBERS),
        "ratio": st.sampled_from(DOUBLES),
        "vip": st.booleans(),
    },
)
calls = st.lists(st.tuples(held, st.sampled_from(STRINGS), st.booleans()), min_size=1, max_size=8)


def request_of(facts: dict[str, Any], country: str, *, mfa: bool) -> DecisionRequest:
    """Give a call with these facts of an order."""
    attributes = {name: value for name, value in facts.items() if name != "state"}
    contexts = {"order": ModelContext("order", "", facts.get("state"), attributes)} if facts else {}
    return DecisionRequest("s", contexts=contexts, request=RequestFacts(geo=Geo(country)), principal=Principal(mfa=mfa))
