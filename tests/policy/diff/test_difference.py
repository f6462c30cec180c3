"""Differences by effect: what means the same shows none, and what is shown is real."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from itertools import product
from math import lcm
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sdk.decisions import DecisionRequest, Phase
from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.diff.difference import Change, Difference, difference
from mcp_sdk.policy.diff.effects import Split, moved_share
from mcp_sdk.policy.diff.witness import Side, Witness
from mcp_sdk.policy.hashing import edges_of, share_at

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Models = Mapping[str, BusinessModel]

ACCESS = "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n  default: %s\n  rules: [%s]\n"
TRAFFIC = (
    "kind: TrafficPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n  default: {version: v1}\n  rules: [%s]\n"
)
LIMITS = "kind: RateLimitPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n  rules: [%s]\n"


def access(*rules: str, default: str = "permit") -> str:
    return ACCESS % (default, ", ".join(f"{{{rule}}}" for rule in rules))


def traffic(*rules: str) -> str:
    return TRAFFIC % ", ".join(f"{{{rule}}}" for rule in rules)


def limits(*rules: str) -> str:
    return LIMITS % ", ".join(f"{{{rule}}}" for rule in rules)


def side(text: str, models: Models) -> Side:
    return Side(compile_policies({"p.yaml": text}, models), models)


def compare(old: str, new: str, models: Models, **options: Any) -> Difference:
    return difference(side(old, models), side(new, models), now=NOW, **options)


def effect(engine: Engine, request: DecisionRequest) -> Any:
    """What a decision of rules without splits does."""
    decided = engine.decide(request)
    if not decided.permitted:
        return decided.verdict
    limits = sorted((limit.requests, limit.key.rpartition(":")[2]) for limit in decided.limits)
    return (decided.verdict, decided.route, decided.qos, dict(decided.advice), limits)


def tells_apart(witness: Witness, old: Side, new: Side) -> bool:
    one, other = (effect(Engine(each.programs, each.models), witness.request(each.models)) for each in (old, new))
    return bool(one != other)


def by(change: Change) -> tuple[Any, Any]:
    return change.before.speakers[0][1], change.after.speakers[0][1]


EQUAL = {
    "names": (
        access("name: a, when: order.items > 5, effect: deny"),
        access("name: b, when: order.items > 5, effect: deny"),
    ),
    "order": (
        access("when: order.items > 5, effect: deny", "when: user.tier == 'vip', effect: review, by: x"),
        access("when: user.tier == 'vip', effect: review, by: x", "when: order.items > 5, effect: deny"),
    ),
    "in": (
        access("when: \"user.tier == 'x' || user.tier == 'y'\", effect: deny"),
        access("when: \"user.tier in ['y', 'x']\", effect: deny"),
    ),
    "split in two": (
        traffic("when: \"user.tier == 'x' || order.express\", route: {version: v2}"),
        traffic("when: user.tier == 'x', route: {version: v2}", "when: order.express, route: {version: v2}"),
    ),
    "negation": (
        access("when: \"!(order.items <= 5 || user.tier != 'x')\", effect: deny"),
        access("when: order.items >= 6 && 'x' == user.tier, effect: deny"),
    ),
    "decimals": (
        access("when: order.amount > 1000, effect: deny"),
        access("when: 1000.01 <= order.amount, effect: deny"),
    ),
    "the default said twice": (
        traffic("when: order.express, route: {version: v2}", "when: user.tier == 'x', route: {version: v1}"),
        traffic("when: order.express, route: {version: v2}"),
    ),
    "one share": (
        traffic("when: order.express, route: {split: {v2: 5, v3: 0}, sticky: order.id}"),
        traffic("when: order.express, route: {version: v2}"),
    ),
    "weights": (
        traffic("when: order.express, route: {split: {v2: 80, v1: 20}}"),
        traffic("when: order.express, route: {split: {v1: 1, v2: 4}}"),
    ),
    "macros": (
        access("when: \"principal.roles.exists(r, r == 'x')\", effect: deny"),
        access("when: \"principal.roles.exists(role, role == 'x')\", effect: deny"),
    ),
    "useless permits": (access("when: order.express, effect: permit"), access()),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_means_the_same_shows_no_difference(name: str, models: Models) -> None:
    """Names, order, phrasing and rules split in two change nothing, and that is certain without a call being tried."""
    found = compare(*EQUAL[name], models)
    assert (found.same, found.certain, found.tried, found.changes) == (True, True, 0, ())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            access("when: has(order.items) && order.items > 5, effect: permit", default="deny"),
            access("when: order.items > 5, effect: permit", default="deny"),
        ),
        (
            access("when: order.express || !order.express, effect: permit", default="deny"),
            access("when: has(order.express), effect: permit", default="deny"),
        ),
        (
            traffic("when: order.items > 5, route: {version: v2}", "when: order.items > 9, route: {version: v3}"),
            traffic("when: order.items > 5, route: {version: v2}"),
        ),
    ],
)
def test_equal_effects_of_other_forms_are_found_by_asking_every_call(old: str, new: str, models: Models) -> None:
    """Where forms differ, and every kind of call is decided alike, it is certain all the same."""
    found = compare(old, new, models)
    assert (found.same, found.certain) == (True, True)
    assert found.tried > 0


DIFFERENT = {
    "threshold": (
        access("name: r, when: order.amount > 1000, effect: deny"),
        access("name: r, when: order.amount > 2000, effect: deny"),
        "verdict",
    ),
    "one cent": (
        access("name: r, when: order.amount > 1000, effect: deny"),
        access("name: r, when: order.amount >= 1000, effect: deny"),
        "verdict",
    ),
    "order": (
        traffic("when: order.express, route: {version: v2}", "when: user.tier == 'x', route: {version: v3}"),
        traffic("when: user.tier == 'x', route: {version: v3}", "when: order.express, route: {version: v2}"),
        "route",
    ),
    "default": (access(default="permit"), access(default="deny"), "verdict"),
    "guard": (
        access("when: order.items > 5, effect: deny"),
        access("when: has(order.items) && order.items > 5, effect: deny"),
        "verdict",
    ),
    "nan": (
        access("when: order.ratio > 0.5, effect: permit", default="deny"),
        access("when: '!(order.ratio <= 0.5)', effect: permit", default="deny"),
        "verdict",
    ),
    "header": (
        access("when: \"'x-a' in request.headers && request.headers['x-a'] == 'b'\", effect: deny"),
        access("when: \"'x-a' in request.headers\", effect: deny"),
        "verdict",
    ),
    "a fixed fact that is empty": (
        access("when: has(principal.type), effect: permit", default="deny"),
        access("when: 'true', effect: permit", default="deny"),
        "verdict",
    ),
    "role": (
        access("when: \"'admin' in principal.roles\", effect: permit", default="deny"),
        access("when: \"'admin' in principal.roles || 'boss' in principal.roles\", effect: permit", default="deny"),
        "verdict",
    ),
    "time": (
        access("when: has(order.paid_at) && now - order.paid_at > duration('1h'), effect: deny"),
        access("when: has(order.paid_at) && now - order.paid_at > duration('2h'), effect: deny"),
        "verdict",
    ),
    "expression": (
        access("when: \"request.path.matches('^/admin/')\", effect: deny"),
        access("when: \"request.path.matches('^/root/')\", effect: deny"),
        "verdict",
    ),
    "a class in an expression": (
        access("when: \"order.channel.matches('^web-[0-9]{2}$')\", effect: deny"),
        access("when: \"order.channel.matches('^app-[0-9]{2}$')\", effect: deny"),
        "verdict",
    ),
    "a product": (
        access("when: order.amount * order.items > 1000, effect: deny"),
        access("when: order.amount * order.items > 2000, effect: deny"),
        "verdict",
    ),
    "a claim": (
        access("when: principal.attributes.level > 3, effect: deny"),
        access("when: principal.attributes.level > 4, effect: deny"),
        "verdict",
    ),
    "the hour": (
        access("when: now.getHours() >= 22, effect: deny"),
        access("when: now.getHours() >= 20, effect: deny"),
        "verdict",
    ),
    "two facts": (
        access("when: order.id == user.id, effect: permit", default="deny"),
        access("when: order.id != user.id, effect: permit", default="deny"),
        "verdict",
    ),
    "message": (
        access("when: order.express, effect: deny, reason: one"),
        access("when: order.express, effect: deny, reason: two"),
        "verdict",
    ),
    "timeout": (
        traffic("when: order.express, route: {version: v2, timeout: 1s}"),
        traffic("when: order.express, route: {version: v2, timeout: 2s}"),
        "route",
    ),
    "advice": (
        traffic("when: order.express, route: {version: v2}, advice: {quality: 720p}"),
        traffic("when: order.express, route: {version: v2}, advice: {quality: 1080p}"),
        "advice",
    ),
    "limit": (
        limits("name: all, when: order.express, limit: {requests: 10}"),
        limits("name: all, when: order.express, limit: {requests: 20}"),
        "limits",
    ),
    "key": (
        limits("name: all, when: 'true', limit: {requests: 10, key: principal.id}"),
        limits("name: all, when: 'true', limit: {requests: 10, key: user.id}"),
        "limits",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_means_another_thing_shows_a_call_that_proves_it(name: str, models: Models) -> None:
    """Every change has a call that both engines decide as is said."""
    old, new, aspect = DIFFERENT[name]
    found = compare(old, new, models)
    assert (found.same, found.certain) == (False, True)
    assert {change.aspect for change in found.changes} == {aspect}
    for change in found.changes:
        assert tells_apart(change.witness, side(old, models), side(new, models)), change


def test_the_plainest_call_is_kept(models: Models) -> None:
    """Facts that the change does not need are left out of its call."""
    old = access(
        "name: other, when: has(user.tier) && user.tier == 'x' && principal.mfa, effect: review, by: x",
        "name: large, when: has(order.amount) && order.amount > 1000, effect: deny",
    )
    found = {by(change): change for change in compare(old, old.replace("1000", "1500"), models).changes}
    assert set(found) == {("large", ""), ("large", "other")}
    change = found["large", ""]
    assert change.witness.words() == ("order.amount=1000.01",)
    assert change.before.sentence() == "deny: rule 'large' of 'p' because has(order.amount) && order.amount > 1000"
    assert change.after.sentence() == "permit: the default of 'p'"
    assert change.before.places == ("p.yaml:6:108",)


def test_a_change_behind_other_rules_is_found(models: Models) -> None:
    """A rule is reached past twenty rules before it, though the inputs are too many to be asked one by one."""
    before = [f"when: order.items == {number}, route: {{version: w{number}}}" for number in range(20)]
    before += [
        "when: order.channel != 'web', route: {version: w}",
        "when: '!(user.tier in [\"a\"])', route: {version: u}",
    ]
    before += [f"when: order.amount == {number}, route: {{version: a{number}}}" for number in range(20)]
    old = traffic(*before, "when: order.ratio < 0.5 && order.express, route: {version: v8}")
    found = compare(old, old.replace("0.5", "0.25"), models, budget=2000)
    assert {change.aspect for change in found.changes} == {"route"}
    assert all(
        tells_apart(one.witness, side(old, models), side(old.replace("0.5", "0.25"), models)) for one in found.changes
    )


def test_that_nothing_was_found_is_not_certain_where_inputs_were_left_out(models: Models) -> None:
    """An expression of which nothing sure can be said makes no claim."""
    old = access("when: order.items * order.items > 4, effect: deny")
    found = compare(old, access("when: order.items * order.items >= 5, effect: deny"), models)
    assert (found.same, found.certain) == (True, True)  # one form
    found = compare(old, access("when: order.items * order.items + 0 > 4, effect: deny"), models)
    assert (found.same, found.certain) == (True, False)
    assert found.tried > 0


def test_weights_that_change_say_what_share_moves(models: Models) -> None:
    """Of a sticky split the distribution counts, and the share of ids that come to another version is told."""
    old = traffic("name: r, when: has(order.id), route: {split: {v2: 80, v1: 20}, sticky: order.id}")
    (change,) = compare(old, old.replace("v2: 80, v1: 20", "v2: 90, v1: 10"), models).changes
    assert change.moved == Fraction(1, 10)
    assert change.before.effect == "80 % v2 and 20 % v1, by order.id"
    assert change.after.effect == "90 % v2 and 10 % v1, by order.id"


def test_another_name_deals_a_sticky_split_anew(models: Models) -> None:
    """The rule's name is in the salt: the distribution stays, and ids move."""
    old = traffic("name: r, when: has(order.id), route: {split: {v2: 80, v1: 20}, sticky: order.id}")
    (change,) = compare(old, old.replace("name: r", "name: q"), models).changes
    assert change.moved == Fraction(32, 100)
    assert (change.before.effect, change.after.effect) == (
        "80 % v2 and 20 % v1, by order.id, salt default/p/r",
        "80 % v2 and 20 % v1, by order.id, salt default/p/q",
    )
    assert compare(old.replace("sticky", "salt: x, sticky"), old.replace("sticky", "salt: x, sticky"), models).same


def test_shadow_is_told_apart_from_what_is_enforced(models: Models) -> None:
    """A policy in shadow that changes changes no decision, and shows what would be decided."""
    old = access("name: r, when: order.express, effect: deny").replace("spec:", "spec:\n  shadow: true")
    found = compare(old, old.replace("effect: deny", "effect: review, by: x"), models)
    assert [change.shadow for change in found.changes] == [True]
    found = compare(old, old.replace("shadow: true", "shadow: false"), models)
    assert [(by(change), change.shadow) for change in found.changes if change.before.speakers] == []
    assert {(change.before.effect, change.after.effect) for change in found.changes} == {("permit", "deny")}
    assert [note.text for note in found.notes if note.kind == "shadow"] == [
        "AccessPolicy 'p' leaves shadow: it is enforced now"
    ]


def test_a_tentative_context_shows_what_a_grant_believes(models: Models) -> None:
    """``allow_tentative`` shows with a call whose context is not stored yet."""
    old = access("name: r, when: order.state == 'paid', effect: permit", default="deny")
    found = compare(old, old.replace("spec:", "spec:\n  allow_tentative: true"), models)
    (change,) = found.changes
    assert change.witness.words() == ("order.rev=1+", "order.state=paid")
    assert (change.before.effect, change.after.effect) == ("deny", "permit")


def test_a_limit_that_is_counted_apart_is_noted(models: Models) -> None:
    """Every call spends from one limit of ten before and after, but no longer from the same."""
    old = limits("name: all, when: 'true', limit: {requests: 10}")
    new = limits(
        "name: vip, when: \"has(user.tier) && user.tier == 'vip'\", limit: {requests: 10}",
        "name: rest, when: \"!has(user.tier) || user.tier != 'vip'\", limit: {requests: 10}",
    )
    found = compare(old, new, models)
    assert (found.changes, found.same) == ((), False)
    assert [note.text for note in found.notes if note.kind == "limit"] == [
        "what the limit 'all' of 'p' counts is counted apart now, as 'rest' of 'p' and 'vip' of 'p'"
    ]


def test_what_a_refusal_hides_is_no_difference(models: Models) -> None:
    """A route that no call comes to inbound shows outbound, where access is not asked; a limit shows nowhere."""
    shut = access(default="deny").replace("name: p", "name: shut") + "---\n"
    old = shut + traffic("when: order.express, route: {version: v2}")
    (change,) = compare(old, old.replace("v2", "v3"), models).changes
    assert change.witness.phase is Phase.OUTBOUND
    assert change.witness.command() == "s --phase outbound order.express=true"
    old = shut + limits("name: all, when: 'true', limit: {requests: 10}")
    found = compare(old, old.replace("10", "20"), models)
    assert (found.same, found.certain) == (True, False)


def test_what_only_some_calls_are_let_through_to_is_found(models: Models) -> None:
    """A limit shows with facts that get the call past the access policy."""
    gate = access("when: user.tier == 'x', effect: permit", default="deny").replace("name: p", "name: gate") + "---\n"
    old = gate + limits("name: all, when: 'true', limit: {requests: 10}")
    (change,) = compare(old, old.replace("10", "20"), models).changes
    assert change.witness.words() == ("user.tier=x",)


def test_operations_decide_where_a_policy_speaks(models: Models) -> None:
    """A policy that governs other operations shows calls of these."""
    old = access(default="deny").replace("{service: s}", "{service: s, operations: ['GET /a', 'POST /b/{b}']}")
    found = compare(old, old.replace("GET /a", "GET /c"), models)
    assert {change.witness.operation for change in found.changes} == {"GET /a", "GET /c"}
    assert found.complete


def test_models_of_their_own(models: Models) -> None:
    """An amount is compared in the unit of each side's model, and the change of the model is noted."""
    text = access("name: r, when: order.amount > 1000, effect: deny")
    finer = {**models, "order": BusinessModel("order", attributes={"amount": Attribute("amount", "decimal", scale=3)})}
    found = difference(side(text, models), side(text, finer), now=NOW)
    (change,) = found.changes
    assert change.witness.words() == ("order.amount=1000.001",)
    assert "order.amount is a decimal of scale 3, and was a decimal of scale 2" in [note.text for note in found.notes]


def test_a_service_that_is_governed_no_more_is_told(models: Models) -> None:
    """With a call, and as a note."""
    found = compare(access(default="deny"), access(default="deny").replace("service: s", "service: t"), models)
    assert [note.text for note in found.notes if note.matters] == [
        "service 't' is governed now",
        "service 's' is governed by no policy any more",
    ]
    assert {(change.witness.service, change.after.effect) for change in found.changes} == {
        ("s", "permit"),
        ("t", "deny"),
    }


def test_a_thousand_rules_that_differ_in_one(models: Models) -> None:
    """The rule that differs is found among them, behind them and at its place."""
    rules = [
        f"when: order.channel == 'c{number}' && order.items > 5, route: {{version: v{number}}}"
        for number in range(1000)
    ]
    old = traffic(*rules)
    new = old.replace("'c321' && order.items > 5", "'c321' && order.items > 7")
    (change,) = compare(old, new, models).changes
    assert change.witness.words() == ("order.channel=c321", "order.items=6")
    assert by(change) == ("rule-322", "")


def test_a_rule_behind_forty_others_is_found(models: Models) -> None:
    """Though most calls that it matches are decided by rules before it, and ten facts have too many combinations."""
    facts = ["order.amount > 5", "order.items > 3", "order.ratio < 0.5", "order.express", "order.channel == 'a'"]
    facts += ["user.tier == 'x'", "transfer.amount > 7", "transfer.risk == 'h'", "principal.mfa", "source.verified"]
    effects = ["effect: permit", "effect: deny", "effect: review, by: x"]
    pairs = [(one, other) for number, one in enumerate(facts) for other in facts[number + 1 :]]
    written = [f'when: "{one} && {other}", {effects[at % 3]}' for at, (one, other) in enumerate(pairs)]
    old, new = access(*written), access(*written[:23], *written[24:])
    found = compare(old, new, models, budget=4000)
    assert found.changes
    assert not found.complete
    assert all(tells_apart(change.witness, side(old, models), side(new, models)) for change in found.changes)


def test_a_rule_that_moved_past_hundreds_is_found(models: Models) -> None:
    """With the one among those it passed that it overlaps with."""
    rules = [f"when: order.channel == 'c{number}', route: {{version: v{number}}}" for number in range(300)]
    mine = "name: mine, when: order.items == 7, route: {version: mine}"
    (change, *_) = found = compare(traffic(mine, *rules), traffic(*rules, mine), models).changes
    assert len(found) > 100
    assert set(change.witness.facts) == {"order.channel", "order.items"}
    assert by(change)[0] == "mine"


VALUES = ("a", "b")
FACTS: Mapping[str, tuple[Any, ...]] = {
    "order.state": (None, "created", "paid", "shipped"),
    "order.items": (None, -1, 0, 1, 2, 3),
    "user.tier": (None, "a", "b", "c"),
    "order.express": (None, True, False),
    "principal.mfa": (False, True),
    "request.geo.country": ("", "a", "b", "c"),
}
clause = st.one_of(
    st.sampled_from(["order.express", "principal.mfa", "has(user.tier)", "!principal.mfa", "'a' in [user.tier]"]),
    st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(0, 2)).map(
        lambda pair: f"order.items {pair[0]} {pair[1]}"
    ),
    st.tuples(
        st.sampled_from(["user.tier", "request.geo.country"]), st.sampled_from(["==", "!="]), st.sampled_from(VALUES)
    ).map(lambda parts: f"{parts[0]} {parts[1]} '{parts[2]}'"),
    st.sampled_from(["user.tier in ['a', 'b']", "request.geo.country in ['b']", "user.tier == request.geo.country"]),
    st.sampled_from(["created", "paid"]).map(lambda state: f"order.state == '{state}'"),
)
condition = st.recursive(
    clause,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} && {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} || {pair[1]})"),
        inner.map(lambda text: f"!({text})"),
    ),
    max_leaves=4,
)
verdict = st.sampled_from(["effect: permit", "effect: deny", "effect: 'review', by: x", "effect: deny, reason: y"])
route = st.sampled_from(["route: {version: v1}", "route: {version: v2}", "route: {split: {v1: 1, v2: 1}}"])
limit = st.sampled_from(["limit: {requests: 1}", "limit: {requests: 2}"])


def rules(effects: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    one = st.tuples(condition, effects).map(lambda pair: f'when: "{pair[0]}", {pair[1]}')
    return st.lists(one, max_size=4)


sets = st.one_of(
    st.tuples(rules(verdict), st.sampled_from(["permit", "deny"])).map(lambda pair: access(*pair[0], default=pair[1])),
    rules(route).map(lambda written: traffic(*written)),
    rules(limit).map(lambda written: limits(*written)),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two policies of one kind, near or far."""
    kind = draw(st.sampled_from([(verdict, access), (route, traffic), (limit, limits)]))
    write: Callable[..., str] = kind[1]
    first = draw(rules(kind[0]))
    second = draw(st.one_of(rules(kind[0]), st.permutations(first), st.just(first[1:]), st.just([*first, *first[:1]])))
    return write(*first), write(*second)


def every_call() -> Iterator[Witness]:
    for values in product(*FACTS.values()):
        known = {name: value for name, value in zip(FACTS, values, strict=True) if value is not None}
        yield Witness("s", NOW, facts=known)


CALLS = list(every_call())


def outcome(engine: Engine, request: DecisionRequest) -> Any:
    """What is decided, of a split who spoke."""
    decided = engine.decide(request)
    if not decided.permitted:
        return decided.verdict
    (said,) = {reason.detail for reason in decided.reasons if reason.kind == "TrafficPolicy"} or {""}
    return (said, sorted(limit.requests for limit in decided.limits))


@settings(max_examples=60, deadline=None)
@given(pair=pairs(), budget=st.sampled_from([200, 20_000]))
def test_brute_force_agrees(pair: tuple[str, str], budget: int, models: Models) -> None:
    """What brute force tells apart is found; what is claimed alike brute force does not tell apart; calls are real."""
    old, new = (side(text, models) for text in pair)
    one, other = Engine(old.programs, models), Engine(new.programs, models)
    apart = False
    for call in CALLS:
        request = call.request(models)
        if outcome(one, request) != outcome(other, request):
            apart = True
            break
    found = difference(old, new, now=NOW, budget=budget)
    assert bool(found.changes) is apart
    for change in found.changes:
        request = change.witness.request(models)
        assert outcome(one, request) != outcome(other, request)
    if budget == 20_000:
        assert found.complete or any("[user.tier]" in text for text in pair)


@given(old=st.lists(st.integers(1, 9), min_size=2, max_size=4), new=st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_the_share_that_moves_is_that_of_all_hashes(old: list[int], new: list[int]) -> None:
    """Counting every pair of remainders gives the same share."""
    splits = [Split(tuple((f"v{at % 3}", weight) for at, weight in enumerate(group)), "s") for group in (old, new)]
    edges = [edges_of(group) for group in (old, new)]
    period = lcm(sum(old), sum(new))
    moved = sum(
        share_at(edges[0], bucket % sum(old)) % 3 != share_at(edges[1], bucket % sum(new)) % 3
        for bucket in range(period)
    )
    assert moved_share(*splits) == Fraction(moved, period)
