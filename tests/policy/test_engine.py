"""Precedence, defaults, phases, trust, tentative contexts, limits, quality of service and splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from mcp_sdk.context import EntityRef, Trust
from mcp_sdk.decisions import Denied, Phase, Principal, Qos, ReviewRequired, StepUpRequired
from mcp_sdk.exceptions import ConfigurationError, PolicyError
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies

Models = Mapping[str, BusinessModel]
Build = Callable[..., Any]


def policy(kind: str, name: str, spec: str, target: str = "{service: s}") -> str:
    """Write one policy; ``spec`` is indented by two."""
    return f"kind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  target: {target}\n{spec}\n"


def build(models: Models, *policies: str, **options: Any) -> Engine:
    """Compile policies and put them in force."""
    return Engine(compile_policies({"p.yaml": "---\n".join(policies)}, models), models, epoch=2, revision=5, **options)


def access(name: str, default: str, *rules: str, more: str = "") -> str:
    """Write an AccessPolicy of ``effect: condition`` rules."""
    written = "".join(
        f'\n  - {{when: "{rule.partition(": ")[2]}", effect: {rule.partition(": ")[0]}}}' for rule in rules
    )
    return policy("AccessPolicy", name, f"  default: {default}\n{more}  rules:{written or ' []'}")


def test_the_strongest_effect_of_all_policies_decides(models: Models, call: Build) -> None:
    """Deny beats review beats step-up beats permit, whichever policy says it; the deciding reason comes first."""
    rules = ["permit: true", "step_up: true", "review: true", "deny: true"]
    wanted = [type(None), StepUpRequired, ReviewRequired, Denied]
    for count, kind in enumerate(wanted, 1):
        engine = build(models, *[access(f"p{number}", "permit", rule) for number, rule in enumerate(rules[:count])])
        decision = engine.decide(call("s"))
        assert decision.permitted if kind is type(None) else isinstance(decision.verdict, kind)
        assert decision.reasons[0].effect == rules[count - 1].partition(":")[0]
        assert (len(decision.reasons), decision.epoch, decision.revision) == (count, 2, 5)


def test_rules_of_one_policy_decide_by_effect_not_order(models: Models, call: Build) -> None:
    """A deny after a permit denies."""
    assert not build(models, access("p", "permit", "permit: true", "deny: true")).decide(call("s")).permitted


def test_the_default_speaks_when_nothing_matched(models: Models, call: Build) -> None:
    """A default of deny denies with an empty rule; another policy's permit does not lift it."""
    engine = build(models, access("p", "deny", "permit: false"), access("q", "permit", "permit: true"))
    decision = engine.decide(call("s"))
    assert decision.verdict == Denied()
    assert (decision.reasons[0].policy, decision.reasons[0].rule, decision.reasons[0].effect) == ("p", "", "deny")


def test_an_explicit_refusal_is_told_before_a_default(models: Models, call: Build) -> None:
    """Of two denials the one that a rule wrote is the deciding reason."""
    engine = build(models, access("a", "deny"), access("b", "permit", "deny: true"))
    assert engine.decide(call("s")).reasons[0].policy == "b"


def test_errors_fail_closed(models: Models, call: Build) -> None:
    """An absent fact: a granting rule does not match, a refusing one does, also under ``!`` and ``||``."""
    assert not build(models, access("p", "deny", "permit: order.items > 1")).decide(call("s")).permitted
    assert (
        not build(models, access("p", "deny", "permit: '!(order.items > 1)'".replace("'", "")))
        .decide(call("s"))
        .permitted
    )
    assert not build(models, access("p", "permit", "deny: order.items > 1 || false")).decide(call("s")).permitted
    assert build(models, access("p", "permit", "deny: order.items > 1 && false")).decide(call("s")).permitted
    assert build(models, access("p", "deny", "permit: order.items > 1 || true")).decide(call("s")).permitted


def test_facts_of_another_type_fail_closed(models: Models, call: Build, context: Build) -> None:
    """A value that is not of its declared type is an error: no grant, and a refusal."""
    odd = context("order", items="many")
    assert not build(models, access("p", "deny", "permit: order.items > 1")).decide(call("s", odd)).permitted
    assert not build(models, access("p", "permit", "deny: order.items > 1")).decide(call("s", odd)).permitted


def test_a_tentative_context_routes_but_does_not_grant(models: Models, call: Build, context: Build) -> None:
    """A change that is not stored yet may refuse and route; it grants only where the policy allows it."""
    held = context("order", state="paid").but(tentative=True)
    rule = "permit: order.state == 'paid'"
    assert not build(models, access("p", "deny", rule)).decide(call("s", held)).permitted
    assert build(models, access("p", "deny", rule, more="  allow_tentative: true\n")).decide(call("s", held)).permitted
    assert build(models, access("p", "deny", rule, "permit: true")).decide(call("s", held)).permitted
    assert not build(models, access("p", "permit", rule.replace("permit", "deny"))).decide(call("s", held)).permitted
    traffic = policy("TrafficPolicy", "t", "  rules:\n  - {when: \"order.state == 'paid'\", route: {version: v2}}")
    assert str(build(models, traffic).decide(call("s", held)).route.subset) == "version=v2"


def test_the_trust_of_a_reason_is_the_least_looked_at(models: Models, call: Build, context: Build) -> None:
    """Of the contexts that the rule reads, the least trusted counts; others do not."""
    engine = build(models, access("p", "deny", "permit: order.items > 0 && user.tier == 'vip'"))
    held = context("order", items=1).but(trust=Trust.STORE), context("user", tier="vip").but(trust=Trust.VERIFIED)
    other = context("transfer").but(trust=Trust.UNSIGNED)
    assert engine.decide(call("s", *held, other)).reasons[0].trust == "verified"


TRAFFIC = policy("TrafficPolicy", "t", "  rules:\n  - {when: 'true', route: {version: v2}, advice: {quality: hd}}")
QOS = policy(
    "QosPolicy",
    "q",
    "  rules:\n  - {when: principal.mfa, qos: {priority: high, class: gold}, advice: {quality: 720p, size: 5}}\n"
    "  default: {qos: {priority: low}}",
)
LIMIT = policy(
    "RateLimitPolicy",
    "l",
    "  rules:\n  - {name: user, when: 'true', limit: {requests: 20, per: 500ms, burst: 5, key: principal.id}}\n"
    "  - {name: all, when: 'true', limit: {requests: 100}}\n"
    "  - {name: order, when: order.items > 3, limit: {requests: 1, key: order.id}}",
)


def test_each_phase_asks_its_kinds(models: Models, call: Build) -> None:
    """Inbound asks every kind, outbound traffic and quality, a method access only."""
    engine = build(models, TRAFFIC, QOS, LIMIT, access("a", "permit"))
    kinds = {
        phase: sorted({reason.kind for reason in engine.decide(call("s", phase=phase)).reasons}) for phase in Phase
    }
    assert kinds == {
        Phase.INBOUND: ["AccessPolicy", "QosPolicy", "TrafficPolicy"],
        Phase.OUTBOUND: ["QosPolicy", "TrafficPolicy"],
        Phase.METHOD: ["AccessPolicy"],
    }
    assert [bool(engine.decide(call("s", phase=phase)).limits) for phase in Phase] == [True, False, False]


def test_quality_of_service_is_the_first_match_or_the_default(models: Models, call: Build) -> None:
    """The first matching rule sets priority and class; advice is merged, the route's first."""
    engine = build(models, TRAFFIC, QOS)
    decision = engine.decide(call("s", principal=Principal("u", mfa=True)))
    assert (decision.qos, decision.advice) == (Qos("high", "gold"), {"quality": "hd", "size": 5})
    assert engine.decide(call("s")).qos == Qos("low")


def test_advice_cannot_be_changed_for_others(models: Models, call: Build) -> None:
    """What the application gets is read-only: no call may change what the next one is told."""
    for engine in (build(models, TRAFFIC), build(models, access("a", "permit"))):
        with pytest.raises(TypeError):
            engine.decide(call("s")).advice["quality"] = "low"


def test_every_matching_limit_is_named(models: Models, call: Build, context: Build) -> None:
    """All matching rules apply, each under its key; a key without a value, or an error, counts under the rule."""
    engine = build(models, LIMIT)
    limits = engine.decide(call("s", context("order", "o-1", items=4), principal=Principal("u"))).limits
    assert [(limit.key, limit.requests, limit.per, limit.burst) for limit in limits] == [
        ("user:u", 20, 0.5, 5),
        ("l/all", 100, 1.0, 0),
        ("order:o-1", 1, 1.0, 0),
    ]
    assert [limit.key for limit in engine.decide(call("s")).limits] == ["l/user", "l/all", "l/order"]


def test_a_split_without_a_value_to_stick_to_follows_the_weights(models: Models, call: Build, context: Build) -> None:
    """What nothing sticks is spread by chance; what sticks is spread by its hash and never moves."""
    route = "{split: {v1: 1, zero: 0, v2: 3}, sticky: order.id}"
    numbers = iter([0.0, 0.24, 0.25, 0.99])
    engine = build(models, policy("TrafficPolicy", "t", f"  rules: []\n  default: {route}"), rng=lambda: next(numbers))
    assert [str(engine.decide(call("s")).route.subset) for _ in range(4)] == [
        "version=v1",
        "version=v1",
        "version=v2",
        "version=v2",
    ]
    ids = [f"o-{number}é" for number in range(400)]
    first, again = ([engine.decide(call("s", context("order", one))).route for one in ids] for _ in range(2))
    assert first == again
    assert [route.sticky for route in first] == ids
    assert 250 < sum(str(route.subset) == "version=v2" for route in first) < 350


def test_the_policy_that_names_operations_goes_first(models: Models, call: Build) -> None:
    """A TrafficPolicy of an operation governs it; the one of the whole service governs the rest."""
    one = policy("TrafficPolicy", "z", "  default: {version: one}", '{service: s, operations: ["* /orders/{order}"]}')
    rest = policy("TrafficPolicy", "a", "  default: {version: rest}")
    engine = build(models, one, rest)
    routes = [engine.decide(call("s", operation=operation)).route for operation in ("GET /orders/1", "GET /orders")]
    assert [str(route.subset) for route in routes] == ["version=one", "version=rest"]


def test_a_method_is_an_operation(models: Models, call: Build) -> None:
    """In phase METHOD a target's operation is the dotted name of a method."""
    source = policy("AccessPolicy", "p", "  default: deny", '{service: s, operations: ["shop.orders.pay"]}')
    engine = build(models, source)
    allowed = [
        engine.decide(call("s", operation=name, phase=Phase.METHOD)).permitted
        for name in ("shop.orders.pay", "shop.pay")
    ]
    assert allowed == [False, True]


def test_needs_are_the_references_that_a_policy_looks_at(models: Models, call: Build, context: Build) -> None:
    """Only models that an applicable policy reads, and that nobody brought, are to be fetched."""
    engine = build(models, access("p", "deny", "permit: order.items > 1"))
    refs = (EntityRef("order", "o-1"), EntityRef("transfer", "t-1"))
    assert engine.needs(call("s", references=refs)) == (refs[0],)
    assert engine.needs(call("s", context("order"), references=refs)) == ()
    assert engine.needs(call("other", references=refs)) == ()


SHADOW = "  shadow: true\n"


def test_a_shadow_policy_is_not_enforced(models: Models, call: Build) -> None:
    """A policy in shadow decides nothing, and the decision tells what it would have decided."""
    decision = build(models, access("p", "deny", more=SHADOW)).decide(call("s"))
    assert (decision.permitted, decision.reasons) == (True, ())
    assert decision.shadow is not None
    assert decision.shadow.verdict == Denied()
    assert str(decision.shadow.reasons[0]) == "deny by the default of 'p' (no rule granted)"
    assert decision.shadow.reasons[0].shadow


def test_without_a_word_from_the_shadow_there_is_none(models: Models, call: Build) -> None:
    """Of another operation, service or phase, or where no rule matches and no default speaks."""
    source = policy("AccessPolicy", "p", "  default: deny\n" + SHADOW, '{service: s, operations: ["GET /x"]}')
    engine = build(
        models, source, policy("QosPolicy", "q", SHADOW + "  rules: [{when: 'false', qos: {priority: low}}]")
    )
    assert engine.decide(call("s", operation="GET /x")).shadow is not None
    quiet = [call("s", operation="GET /y"), call("t"), call("s", operation="GET /x", phase=Phase.OUTBOUND)]
    assert [engine.decide(one).shadow for one in quiet] == [None] * 3


def test_shadow_is_what_would_be_in_force(models: Models, call: Build, context: Build) -> None:
    """What a shadow decides is what the same policies decide without their ``shadow``, whatever is in force beside."""
    in_force = [TRAFFIC, QOS, LIMIT, access("a", "permit", "step_up: order.items > 5")]
    tried = [
        access("b", "permit", "deny: order.items > 4", more=SHADOW),
        policy("QosPolicy", "p", SHADOW + "  rules: [{when: order.items > 2, qos: {priority: critical}}]"),
        policy("RateLimitPolicy", "m", SHADOW + "  rules: [{when: order.items > 1, limit: {requests: 3}}]"),
    ]
    engine = build(models, *in_force, *tried)
    promoted = build(models, *in_force, *(text.replace("shadow: true", "shadow: false") for text in tried))
    alone = build(models, *in_force)
    for items in range(1, 8):
        request = call("s", context("order", items=items))
        decision, wanted = engine.decide(request), promoted.decide(request)
        assert replace(decision, shadow=None) == alone.decide(request)
        if decision.shadow is None:
            assert wanted == alone.decide(request)
        else:
            assert _plain(decision.shadow) == _plain(wanted)


def _plain(decision: Any) -> Any:
    reasons = tuple(replace(reason, shadow=False) for reason in decision.reasons)
    limits = tuple(replace(limit, reason=replace(limit.reason, shadow=False)) for limit in decision.limits)
    return replace(decision, reasons=reasons, limits=limits)


def test_a_shadow_route_takes_the_place_of_its_target_s(models: Models, call: Build) -> None:
    """Of one target one TrafficPolicy is in force and one in shadow; of another target both keep their order."""
    tried = policy("TrafficPolicy", "u", SHADOW + "  default: {version: v9}")
    decision = build(models, TRAFFIC, tried).decide(call("s"))
    assert (str(decision.route.subset), str(decision.shadow.route.subset)) == ("version=v2", "version=v9")
    narrow = policy("TrafficPolicy", "n", "  default: {version: v3}", '{service: s, operations: ["GET /x"]}')
    decision = build(models, TRAFFIC, tried, narrow).decide(call("s", operation="GET /x"))
    assert (str(decision.route.subset), decision.shadow) == ("version=v3", None)
    with pytest.raises(PolicyError, match="a target has one"):
        build(models, TRAFFIC, tried, policy("TrafficPolicy", "w", SHADOW + "  default: {version: v9}"))


def test_a_shadow_comes_into_force_with_the_next_revision(models: Models, call: Build) -> None:
    """What was loaded for the revision before does not stay in shadow, nor the other way round."""
    tried = access("p", "permit", "deny: true", more=SHADOW)
    before = build(models, tried)
    after = build(models, tried.replace("shadow: true", "shadow: false"), before=before)
    again = build(models, tried, before=after)
    assert [engine.decide(call("s")).permitted for engine in (before, after, again)] == [True, False, True]
    assert not after.decide(call("s")).reasons[0].shadow
    assert [engine.decide(call("s")).shadow is None for engine in (before, after, again)] == [False, True, False]


def test_a_split_draws_one_number_for_both(models: Models, call: Build) -> None:
    """Shares in shadow move only the calls that the weights move."""
    numbers = iter([0.1, 0.6, 0.9])
    halves = policy("TrafficPolicy", "t", "  default: {split: {v1: 50, v2: 50}}")
    tried = policy("TrafficPolicy", "u", SHADOW + "  default: {split: {v1: 80, v2: 20}}")
    engine = build(models, halves, tried, rng=lambda: next(numbers))
    decisions = [engine.decide(call("s")) for _ in range(3)]
    routes = [(one.route.subset.version, one.shadow.route.subset.version) for one in decisions]
    assert routes == [("v1", "v1"), ("v2", "v1"), ("v2", "v2")]


class Broken(dict[str, Any]):
    """Contexts that cannot tell of an order."""

    def get(self, name: str, default: Any = None) -> Any:
        """Break."""
        if name == "order":
            raise OSError(name)
        return super().get(name, default)


def test_a_shadow_that_fails_hurts_nobody(models: Models, call: Build) -> None:
    """The decision in force stands; the shadow says that the call would have been shed."""
    tried = access("p", "deny", "permit: order.items > 1", more=SHADOW)
    decision = build(models, TRAFFIC, tried).decide(call("s", contexts=Broken()))
    assert str(decision.route.subset) == "version=v2"
    assert decision.shadow.verdict.name == "shed"
    assert [str(reason) for reason in decision.shadow.reasons] == ["shed by the default of 'p' (its evaluation failed)"]


def test_needs_of_a_shadow_are_fetched(models: Models, call: Build) -> None:
    """What a policy in shadow looks at is looked up, for what it records has to be true."""
    engine = build(models, access("p", "deny", "permit: order.items > 1", more=SHADOW))
    refs = (EntityRef("order", "o-1"), EntityRef("transfer", "t-1"))
    assert engine.needs(call("s", references=refs)) == (refs[0],)


def test_no_policy_is_a_silent_permit(models: Models, call: Build) -> None:
    """An engine without programs permits and says nothing."""
    decision = Engine({}, models, epoch=1, revision=0).decide(call("s"))
    assert decision.permitted
    assert decision.reasons == ()


@pytest.mark.parametrize(
    "damage", [{"format": 99}, {"format": 1, "policies": [{}]}, {"format": 1, "shapes": [], "policies": 5}]
)
def test_a_program_that_cannot_be_read_is_refused(damage: Mapping[str, Any], models: Models) -> None:
    """Another format or a damaged program is a configuration error, not a wrong decision."""
    with pytest.raises(ConfigurationError, match="Compile"):
        Engine(damage, models)
