"""Differences of policies with so many rules that they are searched a group at a time."""

from __future__ import annotations

from datetime import UTC, datetime

from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.diff.difference import Difference, difference
from mcp_sdk.policy.diff.witness import Side

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def side(*conditions: str) -> Side:
    """Compile an access policy that denies by each condition."""
    head = "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n  default: permit\n  rules:\n"
    rules = [f'  - {{name: r{at}, when: "{one}", effect: deny}}\n' for at, one in enumerate(conditions)]
    return Side(compile_policies({"p.yaml": head + "".join(rules)}, {}), {})


def two_clauses(first: int, last: int) -> list[str]:
    """Conditions on two facts each, that have too many combinations for every call to be asked."""
    return [f"principal.id == 'u{at}' && request.path.startsWith('/a{at}/')" for at in range(first, last)]


def denying(found: Difference) -> list[set[str]]:
    """Name the rules that deny what the other side does not, by side, and prove each by its call."""
    said = [(change.before, change.after) for change in found.changes]
    return [{sides[at].speakers[0][1] for sides in said} - {""} for at in (0, 1)]


def assert_real(found: Difference, old: Side, new: Side) -> None:
    one, other = (Engine(each.programs, each.models) for each in (old, new))
    for change in found.changes:
        call = change.witness.request({})
        assert one.decide(call).verdict != other.decide(call).verdict


def test_hundreds_of_rules_of_two_clauses_against_one() -> None:
    """Rules that one side has alone are found, though they are more than the other side has at all."""
    old, new = side("principal.id == 'none'"), side(*two_clauses(0, 401))
    found = difference(old, new, now=NOW, budget=2000)
    before, after = denying(found)
    assert before == {"r0"}
    assert {"r0", "r100", "r200", "r300", "r400"} <= after
    assert not found.complete
    assert_real(found, old, new)


def test_hundreds_of_rules_of_two_clauses_against_as_many_others() -> None:
    """Where all differ, each group begins with its own rules, those at the end of a policy too."""
    old, new = side(*two_clauses(0, 250)), side(*two_clauses(250, 500))
    found = difference(old, new, now=NOW, budget=2000)
    for rules in denying(found):
        assert {"r0", "r100", "r200", "r249"} <= rules
    assert_real(found, old, new)


def test_rules_of_two_clauses_that_changed_behind_hundreds() -> None:
    """A place in a whole policy is not taken for one in the group of rules that changed."""
    rules = two_clauses(0, 250)
    old, new = side(*rules), side(*rules[:200], *two_clauses(500, 530), *rules[230:])
    found = difference(old, new, now=NOW, budget=2000)
    changed = {f"r{at}" for at in range(200, 230)}
    assert denying(found) == [changed, changed]
    assert_real(found, old, new)
