"""The look-up from a call to the first matching rule, at a cost that does not grow with the rules that cannot match.

A rule is found by the facts that its condition tests (see ``normal``): equality, ``in`` lists, prefixes, ranges,
presence, booleans, and conjunctions of them; each side of ``||`` has keys of its own. The index is a tree: each node
parts its rules by the fact that leaves the fewest to look at, by value, by interval, or by whether it is there. What a
fact does not part stays in the node's ``rest``; what nothing parts is scanned, in order. ``growth`` builds the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from mcp_sdk.policy.lookup.lookups import heads_first, quick_first
from mcp_sdk.policy.lookup.tree import Condition, Tree

__all__ = ["Condition", "Index", "Row"]

OutcomeT = TypeVar("OutcomeT")


class Row(NamedTuple, Generic[OutcomeT]):
    """One rule, ready to run."""

    holds: Condition
    on_error: bool
    outcome: OutcomeT


class Index(Generic[OutcomeT]):
    """What the rules of a tree say: ``make`` gives the outcome of a rule's number when it is first found.

    ``first(c, q)`` gives the outcome of the first rule that matches, None when none does.
    """

    __slots__ = ("_make", "_outcomes", "first", "size", "tree")

    def __init__(self, tree: Tree, make: Callable[[int], OutcomeT]) -> None:
        self.tree, self._make, self.size = tree, make, tree.size
        self._outcomes: list[OutcomeT | None] = [None] * tree.size
        self.first: Callable[[Any, Any], OutcomeT | None] = self.speaking(None)

    def speaking(self, default: OutcomeT | None) -> Callable[[Any, Any], OutcomeT | None]:
        """Give the look-up ``(c, q)`` that answers ``default`` when no rule matches."""
        root = self.tree.root
        if isinstance(root, (int, tuple)):
            return self._scanner(root if isinstance(root, tuple) else (root,), default)
        if self.tree.plain:
            return quick_first(self.tree, self._outcomes, self.outcome, default)
        if self.tree.by_heads:
            return heads_first(self.tree, self._outcomes, self.outcome, default)
        return self._walker(default)

    def _scanner(self, numbers: tuple[int, ...], default: OutcomeT | None) -> Callable[[Any, Any], OutcomeT | None]:
        """Give the look-up of rules that nothing parts."""
        tree, outcome = self.tree, self.outcome
        conditions, left, on_error = tree.conditions, tree.left, tree.on_error
        asked = [number if number >= 0 else ~number for number in numbers]

        def first(c: Any, q: Any) -> OutcomeT | None:
            for number in asked:
                try:
                    if (conditions[number] or left(number))(c, q):
                        return outcome(number)
                except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                    if on_error[number]:
                        return outcome(number)
            return default

        return first

    def _walker(self, default: OutcomeT | None) -> Callable[[Any, Any], OutcomeT | None]:
        """Give the look-up that walks a tree of any kind."""
        tree, outcomes, outcome, size = self.tree, self._outcomes, self.outcome, self.size
        find = tree.root.find if tree.root is not None else lambda _c, _q, limit: limit

        def first(c: Any, q: Any) -> OutcomeT | None:
            try:
                number = find(c, q, size)
            except Exception:  # noqa: BLE001 - a fact of another type is no key
                number = next(tree.linear(c, q), size)
            return default if number == size else outcomes[number] or outcome(number)

        return first

    def outcome(self, number: int) -> OutcomeT:
        """Give what a rule says."""
        found = self._outcomes[number]
        if found is None:
            found = self._outcomes[number] = self._make(number)
        return found

    @property
    def rules(self) -> tuple[Row[OutcomeT], ...]:
        """Every rule, in order."""
        tree = self.tree
        return tuple(Row(tree.holds(n), bool(tree.on_error[n]), self.outcome(n)) for n in range(self.size))

    def every(self, c: Any, q: Any) -> list[OutcomeT]:
        """Give the outcomes of all rules that match, in order."""
        return [self.outcome(number) for number in self.tree.every(c, q)]
