"""Which rules of two policy sets differ, so that a search among very many begins with them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mcp_sdk.policy.diff.forms import RuleForm, rule_forms
from mcp_sdk.policy.diff.witness import RuleSite, Side

__all__ = ["Changed", "changed_rules", "in_chunks"]

CHUNK, MOVED, SAMPLE = 100, 20, 50
Sites = list[list[RuleSite]]


class Changed(NamedTuple):
    """Rules by side that the other side has not got or not there; ``moved`` are those that have another place."""

    sites: Sites
    moved: Sites


def changed_rules(
    sides: Sequence[Side], policies: Sequence[Sequence[Mapping[str, Any]]], sites: Sequence[Sequence[RuleSite]]
) -> Changed:
    """Compare the rules of policies by form; where none differs, give the first rules of each side.

    ``sites`` are all rules of ``policies``, in order.
    """
    old, new = (
        [form for plain in group for form in rule_forms(side.programs, plain)]
        for side, group in zip(sides, policies, strict=True)
    )
    moved = _moved(old, new)
    parts = zip((_lacking(old, new), _lacking(new, old)), moved, _passed(old, new, moved), strict=True)
    chosen = [list(dict.fromkeys([*lacking, *mine, *passed])) for lacking, mine, passed in parts]
    if not any(chosen):
        chosen = [list(range(min(SAMPLE, len(group)))) for group in (old, new)]
    picked = [[group[at] for at in places] for group, places in zip(sites, chosen, strict=True)]
    return Changed(picked, [[group[at] for at in places[:MOVED]] for group, places in zip(sites, moved, strict=True)])


def _lacking(mine: Sequence[RuleForm], theirs: Sequence[RuleForm]) -> list[int]:
    known = set(theirs)
    return [at for at, form in enumerate(mine) if form not in known]


def _moved(old: Sequence[RuleForm], new: Sequence[RuleForm]) -> list[list[int]]:
    """Give the places of the rules that leave the longest run which stands in one order on both sides."""
    places = {form: at for at, form in enumerate(new)}
    known = [(at, places[form]) for at, form in enumerate(old) if form in places]
    kept = set(_rising([place for _, place in known]))
    gone = [pair for number, pair in enumerate(known) if number not in kept]
    return [[at for at, _ in gone], [place for _, place in gone]]


def _passed(old: Sequence[RuleForm], new: Sequence[RuleForm], moved: Sequence[Sequence[int]]) -> list[range]:
    """Give the places between the first and the last from or to which a rule moved."""
    if not moved[0]:
        return [range(0), range(0)]
    start, end = min(map(min, moved)), max(map(max, moved)) + 1
    return [range(start, min(end, len(group))) for group in (old, new)]


def _rising(numbers: Sequence[int]) -> list[int]:
    """Give the positions of a longest increasing subsequence (patience sorting)."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for at, number in enumerate(numbers):
        pile = bisect_left(tails, number)
        before.append(ends[pile - 1] if pile else -1)
        tails[pile : pile + 1] = [number]
        ends[pile : pile + 1] = [at]
    found: list[int] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        found.append(at)
        at = before[at]
    return found[::-1]


def in_chunks(changed: Changed) -> list[Sites]:
    """Part rules into groups that can be searched, the first that moved in each: they meet all that they passed."""
    longest = max(map(len, changed.sites))
    return [
        [
            list({site.key: site for site in [*moved, *group[start : start + CHUNK]]}.values())
            for moved, group in zip(changed.moved, changed.sites, strict=True)
        ]
        for start in range(0, max(longest, 1), CHUNK)
    ]
