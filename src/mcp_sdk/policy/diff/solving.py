"""Which values of facts make formulas true: a search over the finite sets of values that are worth asking.

A set of values is a bit mask over a fact's list of values. What is found holds by the very code that decides, for every
atom is asked with every value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from mcp_sdk.policy.diff.conditions import Atom, Formula

__all__ = ["Goal", "Masks", "Solver", "matching", "not_matching"]

Masks = Mapping[str, int]
MAX_COMBINATIONS = 4096
_VALUES: Mapping[str, tuple[bool | None, ...]] = {
    "true": (True,),
    "false": (False,),
    "not true": (False, None),
    "not false": (True, None),
}
_DENIED = {"true": "false", "false": "true", "not true": "not false", "not false": "not true"}


class Goal(NamedTuple):
    """What a formula is to be: ``true``, ``false``, ``not true`` or ``not false``; ``any`` of goals is to be met."""

    want: str
    formula: Any


def matching(formula: Formula, *, refusing: bool) -> Goal:
    """The goal that a rule matches: a refusing one also does by an error."""
    return Goal("not false" if refusing else "true", formula)


def not_matching(formula: Formula, *, refusing: bool) -> Goal:
    """The goal that a rule does not match."""
    return Goal("false" if refusing else "not true", formula)


class Solver:
    """Finds masks that meet goals, ``ask(atom, values)`` giving what an atom is where facts have these values.

    ``sizes`` gives the number of values of each fact; a fact that it does not name stays as it is. At most ``steps``
    steps are taken for a question.
    """

    def __init__(
        self, sizes: Mapping[str, int], ask: Callable[[Atom, Mapping[str, int]], bool | None], *, steps: int = 20_000
    ) -> None:
        self._sizes, self._ask, self._steps = sizes, ask, steps
        self._tables: dict[Atom, dict[bool | None, list[dict[str, int]]]] = {}
        self._allowed: dict[tuple[Atom, str], list[dict[str, int]]] = {}

    def solutions(self, goals: Sequence[Goal]) -> Iterator[Masks]:
        """Yield sets of values with which every goal is met, in a fixed order; none twice from one branch."""
        start: dict[str, int] = {}
        stack: list[tuple[dict[str, int], Any]] = [(start, _linked(goals))]
        for _ in range(self._steps):
            if not stack:
                return
            masks, agenda = stack.pop()
            if agenda is None:
                yield masks
                continue
            goal, rest = agenda
            stack += reversed(list(self._step(masks, goal, rest)))

    def _step(self, masks: dict[str, int], goal: Goal, rest: Any) -> Iterator[tuple[dict[str, int], Any]]:
        want, formula = goal
        if want == "any":
            yield from ((masks, (one, rest)) for one in formula)
        elif isinstance(formula, Atom):
            yield from ((found, rest) for found in self._atom(masks, formula, want))
        elif formula.kind == "not":
            yield masks, (Goal(_DENIED[want], formula.parts[0]), rest)
        elif (formula.kind == "and") is (want in ("true", "not false")):
            yield masks, _linked([Goal(want, part) for part in formula.parts], rest)
        else:
            yield from ((masks, (Goal(want, part), rest)) for part in formula.parts)

    def _atom(self, masks: dict[str, int], atom: Atom, want: str) -> Iterator[dict[str, int]]:
        allowed = self._allowed.get((atom, want))
        if allowed is None:
            allowed = self._allowed[atom, want] = self._meeting(atom, want)
        for one in allowed:
            found = {fact: mask & masks.get(fact, mask) for fact, mask in one.items()}
            if all(found.values()):
                yield {**masks, **found}

    def _meeting(self, atom: Atom, want: str) -> list[dict[str, int]]:
        """Give the values with which an atom is what is wanted: of one fact all at once, of several one by one."""
        table = self._table(atom)
        allowed = [one for value in _VALUES[want] for one in table.get(value, ())]
        if len(atom.facts) != 1:
            return allowed
        return [{atom.facts[0]: sum(one[atom.facts[0]] for one in allowed)}]

    def _table(self, atom: Atom) -> dict[bool | None, list[dict[str, int]]]:
        """Give, for each value that an atom may have, the values of its facts as masks of one bit."""
        if atom not in self._tables:
            table: dict[bool | None, list[dict[str, int]]] = {}
            places = [range(self._sizes.get(fact, 1)) for fact in atom.facts]
            for number, chosen in enumerate(product(*places)):
                if number >= MAX_COMBINATIONS:
                    break
                values = dict(zip(atom.facts, chosen, strict=True))
                table.setdefault(self._ask(atom, values), []).append({fact: 1 << bit for fact, bit in values.items()})
            self._tables[atom] = table
        return self._tables[atom]


def _linked(goals: Sequence[Goal], rest: Any = None) -> Any:
    for goal in reversed(goals):
        rest = (goal, rest)
    return rest
