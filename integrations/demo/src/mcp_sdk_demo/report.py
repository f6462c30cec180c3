"""What a run shows: tables for eyes, plain JSON for machines."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_sdk.cli.output import Output
from mcp_sdk_demo.evidence import Evidence, Rule
from mcp_sdk_demo.expect import Check
from mcp_sdk_demo.shop.business import ORDER, OrderStatus

__all__ = ["Governed", "funnel", "governed", "plain", "samples", "show"]


@dataclass(frozen=True)
class Governed:
    """What one rule did: the number of decisions that it took, and where the calls ended that it was told of."""

    policy: str
    rule: str
    requests: int
    went: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {"policy": self.policy, "rule": self.rule, "requests": self.requests, "went": dict(self.went)}


def governed(seen: Evidence) -> list[Governed]:
    """Give every rule in force, and every default that spoke."""
    counts = seen.governed()
    rules = sorted(seen.rules | set(counts), key=lambda rule: (rule[0], rule[1] == "default", -counts[rule], rule[1]))
    return [Governed(*rule, counts[rule], _went(seen, rule)) for rule in rules]


def _went(seen: Evidence, rule: Rule) -> dict[str, int]:
    routed, refused = Counter[str](), Counter[str]()
    for answer in seen.answers:
        if answer.routed_by == "/".join(rule):
            routed[answer.instance or f"refused {answer.status}"] += 1
        if (answer.body.get("policy"), answer.body.get("rule") or "default") == rule:
            refused[f"refused {answer.status}"] += 1
    found = routed or refused or Counter({"let through": seen.governed()[rule]})
    return dict(found.most_common())


def funnel(seen: Evidence) -> list[tuple[str, int, int]]:
    """Give each state with the number of orders that came that far, and that are there now."""
    now = seen.funnel()
    came = dict(now) | {"created": len(seen.orders), "paid": now["paid"] + now["shipped"]}
    return [(status.value, came.get(status.value, 0), now[status.value]) for status in OrderStatus]


def samples(seen: Evidence) -> list[str]:
    """Explain three decisions: one that routed, one that asked for more, one that refused or held back."""
    wanted = (("vip", "large", "promotion"), ("risky", "signed-in"), ("not-served", "burst", "merchandiser"))
    return [_sentence(record) for names in wanted if (record := _first(seen.decisions, names)) is not None]


def _first(records: Sequence[Mapping[str, Any]], rules: Sequence[str]) -> Mapping[str, Any] | None:
    telling = [record for record in records if record["reasons"] and _tells(record)]
    by_rule = {record["reasons"][0]["rule"]: record for record in reversed(telling)}
    return next((by_rule[rule] for rule in rules if rule in by_rule), None)


def _tells(record: Mapping[str, Any]) -> bool:
    """Tell whether a decision changed something: where a call went, or that it went on."""
    return bool(record["phase"] == "outbound" or record["verdict"] != "permit")


_OUTCOMES = {
    "permit": "was permitted",
    "deny": "was denied",
    "step_up": "was asked for a stronger authentication",
    "review": "waits for a review",
    "throttle": "was told to come back later",
}


def _sentence(record: Mapping[str, Any]) -> str:
    reason = record["reasons"][0]
    what = _OUTCOMES.get(record["verdict"], record["verdict"])
    if record["verdict"] == "permit" and record["phase"] == "outbound":
        what = f"went to {record['service']} {record['route']}"
    clause = f", which says {reason['clause']}" if reason["clause"] else ""
    facts = "; ".join(_facts(record, reason["clause"]))
    known = f" ({facts})" if facts else ""
    return f"{record['operation']} {what} by rule {reason['rule']} of {reason['policy']}{clause}{known}."


def _facts(record: Mapping[str, Any], clause: str) -> Iterator[str]:
    for context in record["contexts"]:
        if f"{context['model']}." in clause:
            attributes = [
                f"{name} {_present(context['model'], name, value)}" for name, value in context["attributes"].items()
            ]
            state = [context["state"]] if context["state"] else []
            yield f"{context['model']} {context['id']}: {', '.join((*state, *attributes))}"
    principal = record["principal"]
    if "principal." in clause:
        roles = ", ".join(principal["roles"]) or "none"
        yield f"caller {principal['id'] or 'nobody'}: mfa {str(principal['mfa']).lower()}, roles {roles}"
    if "geo." in clause:
        yield f"country {record['request']['geo']['country'] or 'unknown'}"


def _present(model: str, name: str, value: Any) -> str:
    attribute = ORDER.attributes.get(name) if model == ORDER.name else None
    return attribute.present(value) if attribute is not None else str(value)


def plain(seen: Evidence, checks: Iterable[Check]) -> dict[str, Any]:
    """Give a run as plain JSON."""
    judged = list(checks)
    return {
        "passed": all(check.passed for check in judged),
        "requests": len(seen.answers),
        "checks": [check.to_dict() for check in judged],
        "rules": [rule.to_dict() for rule in governed(seen)],
        "funnel": [{"state": state, "reached": came, "now": now} for state, came, now in funnel(seen)],
        "samples": samples(seen),
    }


def show(seen: Evidence, checks: Sequence[Check], output: Output) -> None:
    """Print a run as tables."""
    rules = governed(seen)
    rows = [(each.policy, each.rule, each.requests, _places(each.went)) for each in rules]
    title = f"{len(seen.answers)} requests, by rule; several policies may govern one"
    output.table(("policy", "rule", "requests", "where they went"), rows, title=title)
    if any(each.requests != sum(each.went.values()) for each in rules):
        output.line("Fewer went where two policies refused one request, or a forged one came in.")
    output.line()
    output.table(("state", "reached", "now"), funnel(seen), title=f"{len(seen.orders)} orders, by state")
    output.line()
    output.line("Three decisions, explained")
    width = min(output.console.width, 110) if output.console.is_terminal else 110
    for sample in samples(seen):
        output.line(textwrap.fill(sample, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
    output.line()
    _verdict(checks, output)


def _places(went: Mapping[str, int]) -> str:
    return ", ".join(f"{place} {count}" for place, count in went.items())


def _verdict(checks: Sequence[Check], output: Output) -> None:
    failed = [check for check in checks if not check.passed]
    if failed:
        rows = [(check.name, check.expected, check.observed) for check in failed]
        output.table(("check", "expected", "observed"), rows, title=f"{len(failed)} of {len(checks)} checks failed")
    else:
        output.line(f"passed: all {len(checks)} checks, computed from answers, store and decision logs")
