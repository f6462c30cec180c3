"""What was observed of one run: answers, what the store holds, what the services wrote into their decision logs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_sdk import ModelContext
from mcp_sdk_demo.shopper import Answer

__all__ = ["DecisionReader", "Evidence", "Rule", "rules_of"]

Rule = tuple[str, str]
"""The names of a policy and of one of its rules; ``default`` where none matched."""


@dataclass(frozen=True)
class Evidence:
    """The observations of one run.

    ``orders`` are those that came into being in it, ``decisions`` the records of every service's decision log,
    ``outside`` what requests straight to services' ports brought, by name: statuses, and how many services were
    ``well``. ``burst_seconds`` is how long the burst took. ``rules`` are the rules in force.
    """

    answers: tuple[Answer, ...]
    orders: tuple[ModelContext, ...]
    stock: ModelContext | None
    promotion: ModelContext | None
    outside: Mapping[str, int]
    decisions: tuple[Mapping[str, Any], ...]
    rules: frozenset[Rule]
    burst_seconds: float

    def of(self, *groups: str, steps: Iterable[str] = ()) -> list[Answer]:
        """Give the answers that groups got, at some steps or at all."""
        wanted = set(steps)
        return [answer for answer in self.answers if answer.group in groups and (not wanted or answer.step in wanted)]

    def funnel(self) -> Counter[str]:
        """Count orders by the state that the store holds."""
        return Counter(order.state or "?" for order in self.orders)

    def routed(self) -> Counter[Rule]:
        """Count answers by the rule that routed them, as the gateway told."""
        return Counter(_rule(answer.routed_by) for answer in self.answers if answer.routed_by)

    def governed(self) -> Counter[Rule]:
        """Count decisions by rule: routes where calls leave, everything else where they arrive."""
        return Counter(rule for record in self.decisions for rule in _spoken(record))


def _rule(text: str) -> Rule:
    policy, _, rule = text.partition("/")
    return policy, rule


def _spoken(record: Mapping[str, Any]) -> Iterator[Rule]:
    for reason in record["reasons"]:
        if (reason["kind"] == "TrafficPolicy") == (record["phase"] == "outbound"):
            yield reason["policy"], reason["rule"] or "default"


def rules_of(sources: Mapping[str, str]) -> frozenset[Rule]:
    """Give the rules that policy files hold, by name."""
    import yaml  # noqa: PLC0415 - YAML is part of an extra

    documents = (document for text in sources.values() for document in yaml.safe_load_all(text) if document)
    return frozenset(
        (document["metadata"]["name"], rule.get("name", f"rule-{number}"))
        for document in documents
        for number, rule in enumerate(document["spec"].get("rules") or (), 1)
    )


class DecisionReader:
    """Reads the decision logs of all services in a directory, each time what came since."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[Path, int] = {}

    def read(self) -> tuple[Mapping[str, Any], ...]:
        """Give the new records."""
        return tuple(
            record for path in sorted(self._directory.glob("*.decisions.jsonl")) for record in self._from(path)
        )

    def _from(self, path: Path) -> Iterator[Mapping[str, Any]]:
        with path.open("rb") as log:
            log.seek(self._read.get(path, 0))
            whole, _, _ = log.read().rpartition(b"\n")
        self._read[path] = self._read.get(path, 0) + len(whole) + bool(whole)
        yield from (json.loads(line) for line in whole.splitlines())
