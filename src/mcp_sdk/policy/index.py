"""The look-up from a call to the first matching rule.

``Index(rules)`` builds, ``first`` looks up, ``rules`` is all of them in order: the slow truth that a faster look-up is tested
against. The look-up is linear for now; the interface is final.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

__all__ = ["Condition", "Index", "Indexed"]

Condition = Callable[[Any, Any], Any]
OutcomeT = TypeVar("OutcomeT")


@dataclass(frozen=True, slots=True)
class Indexed(Generic[OutcomeT]):
    """One rule as the index takes it: ``holds`` tells whether it matches, ``on_error`` whether an error does.

    ``shape`` and ``constants`` are the condition's, for an index to choose a key from.
    """

    outcome: OutcomeT
    holds: Condition
    on_error: bool
    shape: Any = field(default=None, repr=False)
    constants: tuple[Any, ...] = ()


class Index(Generic[OutcomeT]):
    """Rules in order, found by the contexts ``c`` and the request ``q``."""

    __slots__ = ("_scan", "rules")

    def __init__(self, rules: Sequence[Indexed[OutcomeT]]) -> None:
        self.rules = tuple(rules)
        self._scan = tuple((rule.holds, rule.on_error, rule.outcome) for rule in rules)

    def first(self, c: Any, q: Any) -> OutcomeT | None:
        """Give the outcome of the first rule that matches; None when none does."""
        for holds, on_error, outcome in self._scan:
            try:
                if holds(c, q):
                    return outcome
            except Exception:
                if on_error:
                    return outcome
        return None

    def every(self, c: Any, q: Any) -> list[OutcomeT]:
        """Give the outcomes of all rules that match, in order."""
        found = []
        for holds, on_error, outcome in self._scan:
            try:
                if holds(c, q):
                    found.append(outcome)
            except Exception:
                if on_error:
                    found.append(outcome)
        return found
