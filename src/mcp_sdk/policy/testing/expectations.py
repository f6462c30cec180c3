"""What a case expects of a decision, and where a decision differs from it.

Expected and observed are mappings of one form, aspect by aspect; only what is expected is compared:

    {"verdict": "permit", "acr": "", "max_age": None, "by": "", "message": "",
     "route": {"version", "subset", "split", "sticky", "priority", "timeout"},
     "qos": {"priority", "class"}, "advice": {…},
     "limits": [{"policy", "rule", "key", "requests", "per", "burst"}, …],
     "reason": [{"policy", "kind", "rule", "default", "clause"}, …]}

An aspect that is expected to be empty (``{}``, ``[]``) says that there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mcp_sdk.decisions import Decision, DecisionRequest, Limit, Reason
from mcp_sdk.exceptions import did_you_mean
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.loading import PHASES
from mcp_sdk.policy.program import RuleRow
from mcp_sdk.policy.source.fields import Fields, shown
from mcp_sdk.policy.source.parse import EFFECTS, MAX_WEIGHT, PRIORITIES
from mcp_sdk.policy.source.reading import MapNode, Node, SequenceNode

__all__ = ["Difference", "Expected", "Words", "compare", "observe", "read_expected"]

Expected = Mapping[str, Any]
CHANCE = "by chance"
"""What stands for the version of a split that nothing sticks to a share."""

_BARE = re.compile(r"[\w./-][\w./: -]{0,199}(?<! )\Z")
_NO_ROUTE: Mapping[str, Any] = {"version": "", "subset": {}, "split": {}}
_NO_QOS: Mapping[str, Any] = {"priority": "", "class": ""}


@dataclass(frozen=True, slots=True)
class Difference:
    """One aspect that is not as expected; both sides as a person writes them."""

    aspect: str
    expected: str
    observed: str

    def to_dict(self) -> dict[str, str]:
        """Give it as plain JSON."""
        return {"aspect": self.aspect, "expected": self.expected, "observed": self.observed}

    def __str__(self) -> str:
        return f"{self.aspect}: expected {self.expected}, observed {self.observed}"


class Words:
    """What the policies of one service can say: the names that a reason may have."""

    def __init__(self, policies: list[Mapping[str, Any]], effects: list[Mapping[str, Any]]) -> None:
        self.policies = policies
        self.effects = effects

    @cached_property
    def rows(self) -> Mapping[tuple[str, str], Mapping[str, RuleRow]]:
        """The rules by name, by kind and name of their policy."""
        return {
            (policy["kind"], policy["name"]): {row[0]: RuleRow.of(row) for row in policy["rules"]}
            for policy in self.policies
        }

    def clauses(self, reason: Reason) -> set[str]:
        """Give the texts that the rule of a reason may be known by."""
        row = self.rows.get((reason.kind, reason.policy), {}).get(reason.rule)
        return clauses_of(row) if row is not None else set()

    def split(self, reason: Reason) -> dict[str, int]:
        """Give the split that the word of a TrafficPolicy holds; empty when it splits nothing."""
        row = self.rows.get((reason.kind, reason.policy), {}).get(reason.rule)
        if row is not None:
            return dict(self.effects[row.effect]["route"].get("split", ()))
        of_reason = [one for one in self.policies if (one["kind"], one["name"]) == (reason.kind, reason.policy)]
        return dict((of_reason[0]["default"] or {}).get("split", ())) if of_reason else {}

    def check(self, named: Fields) -> None:
        """Report a policy, a rule or a clause that is not there."""
        found = self.policies
        for name, values in (("policy", _names), ("rule", _rules), ("clause", _clauses)):
            node = named.get(name) if name in named.nodes else None
            if node is None:
                continue
            wanted = named.string(name)
            known = {value for policy in found for value in values(policy, named.string("rule"))}
            if _plain(wanted) not in known:
                message = f"{named.what}: no {name} here is {shown(wanted)}.{did_you_mean(wanted, known)}"
                named.findings.error("MCP0207", message, node)
                return
            found = [policy for policy in found if _plain(wanted) in values(policy, named.string("rule"))]
        if found and all(policy["shadow"] for policy in found):
            message = f"{named.what}: {shown(found[0]['name'])} is in shadow, so it decides nothing"
            named.findings.error("MCP0207", message, named.node)


class Vocabulary:
    """The words of every service that an engine's policies govern."""

    def __init__(self, engine: Engine) -> None:
        self._effects: list[Mapping[str, Any]] = list(engine.programs.get("effects", ()))
        self._by_target: dict[tuple[str, str], Words] = {}
        for policy in engine.programs.get("policies", ()):
            self._of(policy["namespace"], policy["service"]).policies.append(policy)

    def of(self, request: DecisionRequest) -> Words:
        """Give the words of the service that a request calls."""
        return self._of(request.namespace, request.service)

    def _of(self, namespace: str, service: str) -> Words:
        return self._by_target.setdefault((namespace, service), Words([], self._effects))


def _names(policy: Mapping[str, Any], _: str) -> set[str]:
    return {policy["name"]}


def _rules(policy: Mapping[str, Any], _: str) -> set[str]:
    return {row[0] for row in policy["rules"]}


def _clauses(policy: Mapping[str, Any], rule: str) -> set[str]:
    rows = (RuleRow.of(row) for row in policy["rules"])
    return {text for row in rows if rule in ("", row.name) for text in clauses_of(row)}


def clauses_of(row: RuleRow) -> set[str]:
    """Give the texts that a rule may be known by: its whole condition, and each clause of it."""
    return set(map(_plain, (row.clause, *row.clauses)))


def _plain(text: str) -> str:
    return " ".join(text.split())


def read_expected(fields: Fields, words: Words) -> Expected:
    """Read ``expect``; what does not fit is reported, and so is one that expects nothing."""
    given = {name: read(fields, name, words) for name, read in _READERS.items() if _written(fields, name)}
    fields.done()
    if not given:
        fields.findings.error("MCP0005", f"{fields.what}: it expects nothing, so it cannot fail", fields.node)
    return given


def _written(fields: Fields, name: str) -> bool:
    return fields.get(name) is not None


def _route(fields: Fields, name: str, _: Words) -> Any:
    route = fields.mapping(name)
    if route is None:
        return {}
    readers: Mapping[str, Callable[[Fields, str], Any]] = {
        "version": Fields.string,
        "subset": _labels,
        "split": _shares,
        "sticky": Fields.string,
        "priority": Fields.string,
        "timeout": Fields.duration,
    }
    return _read(route, readers) or _NO_ROUTE


def _labels(fields: Fields, name: str) -> dict[str, str]:
    nested = fields.mapping(name)
    return {} if nested is None else {label: nested.string(label) for label in nested.nodes}


def _shares(fields: Fields, name: str) -> dict[str, int]:
    nested = fields.mapping(name)
    nodes = {} if nested is None else nested.nodes
    return {key: fields.as_integer(node, key, 0, low=0, high=MAX_WEIGHT) for key, node in nodes.items()}


def _read(fields: Fields, readers: Mapping[str, Callable[[Fields, str], Any]]) -> dict[str, Any]:
    found = {name: read(fields, name) for name, read in readers.items() if _written(fields, name)}
    fields.done()
    return found


def _qos(fields: Fields, name: str, _: Words) -> Any:
    qos = fields.mapping(name)
    if qos is None:
        return {}
    return _read(qos, {"priority": lambda one, key: one.choice(key, PRIORITIES), "class": Fields.string}) or _NO_QOS


def _each(fields: Fields, name: str, words: Words, read: Callable[[Fields], dict[str, Any]]) -> list[dict[str, Any]]:
    """Read a list of mappings, or the one that stands in its place; an empty one says that there is none."""
    node = fields.get(name)
    items: list[Node] = node.items if isinstance(node, SequenceNode) else [node] if node is not None else []
    found = []
    for item in items:
        if not isinstance(item, MapNode):
            fields.wrong(item, name, "a mapping or a list of mappings", "something else")
        elif item.entries:
            one = Fields(item, f"{fields.what}.{name}", fields.findings)
            found.append(read(one))
            words.check(one)
    return found


def _limits(fields: Fields, name: str, words: Words) -> Any:
    readers: Mapping[str, Callable[[Fields, str], Any]] = {
        "policy": Fields.string,
        "rule": Fields.string,
        "key": Fields.string,
        "requests": lambda one, key: one.integer(key, 0, low=0),
        "per": Fields.duration,
        "burst": lambda one, key: one.integer(key, 0, low=0),
    }
    return _each(fields, name, words, lambda one: _read(one, readers))


def _reason(fields: Fields, name: str, words: Words) -> Any:
    def read(one: Fields) -> dict[str, Any]:
        one.only_one("rule", "default")
        one.only_one("clause", "default")
        readers: Mapping[str, Callable[[Fields, str], Any]] = {
            "policy": Fields.string,
            "kind": lambda one, key: one.choice(key, tuple(PHASES)),
            "rule": Fields.string,
            "default": Fields.boolean,
            "clause": lambda one, key: _plain(one.string(key)),
        }
        return _read(one, readers)

    return _each(fields, name, words, read)


_READERS: Mapping[str, Callable[[Fields, str, Words], Any]] = {
    "verdict": lambda fields, name, _: fields.choice(name, EFFECTS),
    "acr": lambda fields, name, _: fields.string(name),
    "max_age": lambda fields, name, _: int(fields.duration(name) or 0),
    "by": lambda fields, name, _: fields.string(name),
    "message": lambda fields, name, _: fields.string(name),
    "route": _route,
    "qos": _qos,
    "advice": lambda fields, name, _: fields.plain(name),
    "limits": _limits,
    "reason": _reason,
}


def observe(decision: Decision, words: Words) -> dict[str, Any]:
    """Write a decision in the form of an expectation."""
    qos = decision.qos
    return {
        "verdict": decision.verdict.name,
        **{name: getattr(decision.verdict, name, "") for name in ("acr", "max_age", "by", "message")},
        "route": _observed_route(words, decision),
        "qos": {"priority": qos.priority, "class": qos.service_class} if qos else _NO_QOS,
        "advice": dict(decision.advice),
        "limits": [_observed_limit(limit) for limit in decision.limits],
        "reason": [_observed_reason(words, reason) for reason in _deciding(decision)],
    }


def _deciding(decision: Decision) -> Iterator[Reason]:
    """Yield the reasons that made the decision: not those of access policies that a stronger one overruled."""
    access = [reason for reason in decision.reasons if reason.kind == "AccessPolicy"]
    yield from (reason for reason in access if reason.effect == access[0].effect)
    yield from (reason for reason in decision.reasons if reason.kind != "AccessPolicy")
    yield from (limit.reason for limit in decision.limits)


def _observed_reason(words: Words, reason: Reason) -> dict[str, Any]:
    return {
        "policy": reason.policy,
        "kind": reason.kind,
        "rule": reason.rule,
        "default": not reason.rule,
        "clause": words.clauses(reason),
    }


def _observed_limit(limit: Limit) -> dict[str, Any]:
    rule = limit.reason.rule
    value = limit.key.removeprefix(f"{rule}:") if limit.key.startswith(f"{rule}:") else ""
    numbers = {"requests": limit.requests, "per": limit.per, "burst": limit.burst}
    return {"policy": limit.policy, "rule": rule, "key": value, **numbers}


def _observed_route(words: Words, decision: Decision) -> dict[str, Any]:
    route = decision.route
    if route is None:
        return {**_NO_ROUTE, "sticky": "", "priority": "", "timeout": None}
    splits = (words.split(reason) for reason in decision.reasons if reason.kind == "TrafficPolicy")
    split: dict[str, int] = next(splits, {})
    chance = not route.sticky and sum(weight > 0 for weight in split.values()) > 1
    return {
        "version": CHANCE if chance else route.subset.version if route.subset else "",
        "subset": dict(route.subset.labels) if route.subset else {},
        "split": split,
        "sticky": route.sticky,
        "priority": route.priority,
        "timeout": route.timeout,
    }


def compare(expected: Expected, observed: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Give where a decision is not as expected; empty when it is."""
    pairs = ((name, wanted, observed[name]) for name, wanted in expected.items())
    return tuple(
        Difference(name, _written_out(wanted), _written_out(_like(wanted, found)))
        for name, wanted, found in pairs
        if not _fits(name, wanted, found)
    )


def _fits(aspect: str, wanted: Any, found: Any) -> bool:
    if aspect == "advice" and not wanted:
        return not found
    if aspect == "limits":
        matched = len(wanted) == len(found) and all(any(_holds(one, each) for one in wanted) for each in found)
        return matched and all(any(_holds(one, each) for each in found) for one in wanted)
    if aspect == "reason":
        return all(any(_holds(one, each) for each in found) for one in wanted) if wanted else not found
    return _holds(wanted, found)


def _holds(wanted: Any, found: Any) -> bool:
    """Tell whether what was found has all that is wanted; a set holds the texts that would do."""
    if isinstance(found, (set, frozenset)):
        return wanted in found
    if isinstance(wanted, Mapping) and isinstance(found, Mapping) and wanted:
        return all(_equal(value, found.get(name)) for name, value in wanted.items())
    return _equal(wanted, found)


def _equal(wanted: Any, found: Any) -> bool:
    """Compare plain values, of which true is not 1."""
    if isinstance(found, (set, frozenset)):
        return wanted in found
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return wanted.keys() == found.keys() and all(_equal(value, found[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, (list, tuple)):
        return len(wanted) == len(found) and all(map(_equal, wanted, found))
    return bool(wanted == found) and isinstance(wanted, bool) == isinstance(found, bool)


def _like(wanted: Any, found: Any) -> Any:
    """Give of what was found that which was asked for."""
    if isinstance(wanted, list):
        asked = dict.fromkeys(name for one in wanted for name in one)
        return [_listed(one, [name for name in asked if name not in ("policy", "rule", "default")]) for one in found]
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return {name: found.get(name) for name in wanted or found}
    return found


def _listed(found: Mapping[str, Any], asked: Sequence[str]) -> dict[str, Any]:
    names = ["policy", "rule" if found["rule"] else "default", *asked]
    values = {name: found[name] for name in names if name in found and found[name] != set()}
    return {name: max(one, key=len) if isinstance(one, set) else one for name, one in values.items()}


def _written_out(value: Any) -> str:
    """Write a plain value as a case does, on one line."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_written_out(name)}: {_written_out(one)}" for name, one in value.items())
        return "none" if all(one in ("", None) or one == {} for one in value.values()) else f"{{{inside}}}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_written_out, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if _BARE.match(value) else shown(value) if value else "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
