"""Searches for calls that two policy sets decide differently, a rule at a time, led by what the engines answer.

A call that a rule matches may be decided by a rule before it, or alike by both sets: then whoever spoke must not match
in the next attempt. (Counterexample-guided search: the conditions of all other rules need not be solved at once.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mcp_sdk.decisions import Decision, Reason
from mcp_sdk.policy.diff.judge import Judge
from mcp_sdk.policy.diff.solving import Goal
from mcp_sdk.policy.diff.witness import RuleSite, Space, Witness

__all__ = ["Seeker"]

ATTEMPTS = 40


class Seeker:
    """Searches a space; ``sites`` are its rules by side."""

    def __init__(self, space: Space, sites: Sequence[Sequence[RuleSite]], judge: Judge) -> None:
        self._space, self._judge = space, judge
        self._sites: list[Mapping[tuple[str, str, str], RuleSite]] = [
            {site.key: site for site in group} for group in sites
        ]

    def calls(self) -> Iterator[Witness]:
        """Yield what is worth asking: for the defaults, then for each rule of either side."""
        for number in (0, 1):
            yield from self._attempts(number, None)
        for number, group in enumerate(self._sites):
            for site in group.values():
                yield from self._attempts(number, site)

    def _attempts(self, number: int, site: RuleSite | None) -> Iterator[Witness]:
        goals = [] if site is None else [self._space.goal(number, site, met=True)]
        for _ in range(ATTEMPTS):
            chosen = self._space.solve(goals)
            if chosen is None:
                return
            witness = self._space.at(chosen)
            yield witness
            more = self._more(number, site, witness)
            if more is None:
                return
            goals.append(more)

    def _more(self, number: int, site: RuleSite | None, witness: Witness) -> Goal | None:
        """Give what the next attempt must meet as well; None when there is nothing left to try."""
        decisions = self._judge.decide(witness)
        spoke = [_speaker(decision) for decision in decisions]
        mine, wanted = spoke[number], site.key if site else None
        if mine is not None and mine != wanted and mine in self._sites[number]:
            return self._space.goal(number, self._sites[number][mine], met=False)
        other = 1 - number
        theirs = spoke[other]
        if theirs is not None and theirs in self._sites[other]:
            return self._space.goal(other, self._sites[other][theirs], met=False)
        if not self._judge.alike(decisions) or not self._sites[other]:
            return None
        return Goal("any", [self._space.goal(other, one, met=True) for one in self._sites[other].values()])


def _speaker(decision: Decision) -> tuple[str, str, str] | None:
    reason: Reason | None = next(iter(decision.reasons), None)
    return None if reason is None or not reason.rule else (reason.kind, reason.policy, reason.rule)
