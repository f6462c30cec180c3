"""A decision log against changed policies: who is decided otherwise, and what cannot be said."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from mcp_sdk.context import EntityRef
from mcp_sdk.decision_log import describe
from mcp_sdk.decisions import DecisionRequest, Principal, RequestFacts
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.history.records import Line, Record, Unread, read_records
from mcp_sdk.policy.history.replay import Change, Report, engine_for_replay, replay, simulate
from mcp_sdk.telemetry import Telemetry

Build = Callable[..., Any]
Models = Mapping[str, BusinessModel]
ACCESS = """\
kind: AccessPolicy
metadata: {name: a}
spec:
  target: {service: s}
  default: permit
  rules: [{name: large, when: "has(order.items) && order.items > 5", effect: deny}]
---
"""
TRAFFIC = """\
kind: TrafficPolicy
metadata: {name: t}
spec:
  target: {service: s}
  rules: [{name: many, when: order.items > 2, route: {split: {v1: 50, v2: 50}}}]
  default: {version: v1}
---
"""
LIMIT = """\
kind: RateLimitPolicy
metadata: {name: l}
spec:
  target: {service: s}
  rules: [{name: each, when: "true", limit: {requests: 5, key: "request.headers['x-key']"}}]
---
"""
QOS = """\
kind: QosPolicy
metadata: {name: q}
spec: {target: {service: s}, default: {qos: {priority: low, class: gold}}}
"""
SET = ACCESS + TRAFFIC + LIMIT + QOS


@pytest.fixture
def engine(models: Models) -> Callable[[str], Engine]:
    """Build an engine for replay."""
    return lambda text: engine_for_replay(compile_policies({"p.yaml": text}, models), models)


@pytest.fixture
def log(models: Models) -> Callable[[str, Iterable[DecisionRequest]], list[Record | Unread]]:
    """Decide questions by policies, as a service would, and read the log of it."""

    def build(text: str, questions: Iterable[DecisionRequest]) -> list[Record | Unread]:
        deciding = Engine(compile_policies({"p.yaml": text}, models), models)
        lines = []
        for number, question in enumerate(questions, 1):
            record = describe(question, deciding.decide(question), Telemetry())
            lines.append(Line(number, json.dumps(record).encode() + b"\n"))
        return list(read_records(lines))

    return build


@pytest.fixture
def asked(call: Build, context: Build) -> list[DecisionRequest]:
    """Ask for orders of 0 to 7 items."""
    headers = RequestFacts(headers={"x-key": "k"})
    return [
        call("s", context("order", f"o-{items}", items=items), request=headers, operation="GET /x")
        for items in range(8)
    ]


def test_the_same_policies_decide_the_same(engine: Build, log: Build, asked: list[DecisionRequest]) -> None:
    """No draw of chance, no key of a limit and no pass through a log makes a difference."""
    records = log(SET, asked * 20)
    for report in (replay(records, engine(SET)), simulate(records, engine(SET), engine(SET))):
        assert (report.decided, report.otherwise, report.undecided) == (160, 0, 0)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("items > 5", "items > 3", {Change("verdict", "permit", "deny"): 2}),
        ("items > 5", "items > 6", {Change("verdict", "deny", "permit"): 1}),
        ("effect: deny", "effect: step_up, acr: mfa", {Change("verdict", "deny", "step_up"): 2}),
        ("default: {version: v1}", "default: {version: v9}", {Change("route", "version=v1", "version=v9"): 3}),
        ("v2: 50", "v2: 60", {Change("route", "split v1 50, v2 50", "split v1 50, v2 60"): 3}),
        (
            "requests: 5,",
            "requests: 6,",
            {Change("limits", "l/each 5 per 1 s, burst 0", "l/each 6 per 1 s, burst 0"): 6},
        ),
        ("priority: low", "priority: high", {Change("qos", "low gold", "high gold"): 6}),
    ],
)
def test_a_change_is_counted_by_what_it_does(
    engine: Build, log: Build, asked: list[DecisionRequest], old: str, new: str, wanted: dict[Change, int]
) -> None:
    """Replayed and simulated alike: which calls, from what to what."""
    assert old in SET
    changed, records = engine(SET.replace(old, new)), log(SET, asked)
    for report in (replay(records, changed), simulate(records, changed, engine(SET))):
        assert (report.changes, report.decided, report.undecided) == (wanted, 8, 0)
        refusals = sum(count for change, count in wanted.items() if change.refuses)
        assert (report.otherwise, report.refused) == (sum(wanted.values()), refusals)


def test_rules_that_newly_speak_are_named(engine: Build, log: Build, asked: list[DecisionRequest]) -> None:
    """Only in calls that are decided otherwise; the samples say why, in a sentence."""
    report = simulate(log(SET, asked), engine(SET.replace("items > 5", "items > 3")), engine(SET), samples=1)
    assert report.rules == {("a", "large"): 2}
    (sample,) = report.samples
    assert (sample.place, sample.operation, sample.changes) == (
        "line 5",
        "GET /x",
        (Change("verdict", "permit", "deny"),),
    )
    assert sample.sentence.startswith("deny: deny by rule 'large' of 'a' because has(order.items) && order.items > 3")
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["changes"] == [{"what": "verdict", "before": "permit", "after": "deny", "calls": 2}]
    assert plain["samples"][0]["place"] == "line 5"


def test_what_the_log_hides_is_not_guessed(engine: Build, log: Build, asked: list[DecisionRequest]) -> None:
    """A record is decided where the hidden fact does not matter, and counted as unknown where it does."""
    changed = SET.replace("items > 5", "items > 5 && request.headers['x-key'] == 'k'")
    report = replay(log(SET, asked), engine(changed))
    assert (report.decided, report.otherwise, report.undecided) == (6, 0, 2)
    (why,) = report.skipped
    assert why == "a condition reads request.headers, which the log does not hold"
    assert [place for place, _ in report.skipped[why].places] == ["line 7", "line 8"]


def test_an_entity_that_nobody_looked_up_is_not_absent(engine: Build, log: Build, call: Build) -> None:
    """A changed policy may look at what the old one did not have looked up."""
    records = log(SET, [call("s", references=(EntityRef("transfer", "t-1"),))])
    changed = engine(SET.replace("has(order.items) && order.items > 5", "has(transfer.risk)"))
    assert list(replay(records, changed).skipped) == ["a condition reads transfer, which the log does not hold"]
    assert simulate(records, engine(SET), engine(SET)).decided == 1


def test_a_sample_without_its_facts_has_the_plain_sentence(engine: Build, log: Build, call: Build) -> None:
    """Explaining reads more than deciding does."""
    question = call("s", principal=Principal("u", attributes={"a": 1}))
    every, team = (
        "{name: all, when: 'true', effect: deny}",
        "{name: team, when: has(principal.attributes.a), effect: deny}",
    )
    text = ACCESS.replace("rules: [", f"rules: [{every}, {team}, ")
    report = replay(log(ACCESS, [question]), engine(text))
    assert report.samples[0].sentence == "deny: deny by rule 'all' of 'a' because true."


def test_policies_in_shadow_are_left_alone(engine: Build, log: Build, asked: list[DecisionRequest]) -> None:
    """What they would change is no change."""
    shadow = ACCESS.replace("name: a}", "name: b}").replace("default: permit", "default: deny\n  shadow: true")
    assert replay(log(SET, asked), engine(shadow + SET)).otherwise == 0


def test_no_policies_permit_everything(engine: Build, log: Build, asked: list[DecisionRequest], models: Models) -> None:
    """Taking all policies away is a change like any other."""
    report = replay(log(ACCESS, asked), engine_for_replay({}, models))
    assert report.changes == {Change("verdict", "deny", "permit"): 2}


def test_a_long_log_is_not_held(engine: Build, log: Build, asked: list[DecisionRequest]) -> None:
    """What a report holds grows with the changes, not with the records."""
    records, changed = log(SET, asked), engine(SET.replace("items > 5", "items > 3"))
    replay(iter(records), changed)

    def many(times: int) -> Iterable[Record | Unread]:
        for _ in range(times):
            yield from records
            yield Unread("line 1", "no JSON object")

    def held(times: int) -> int:
        tracemalloc.start()
        report = replay(many(times), changed)
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert isinstance(report, Report)
        assert report.decided == 8 * times
        return size

    assert held(200) < held(10) + 100_000  # 1 600 records held would be millions
