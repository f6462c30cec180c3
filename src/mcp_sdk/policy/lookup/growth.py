"""How the tree of an index is built: which fact parts the rules best, and what goes where.

Each node takes the fact that leaves the fewest rules to look at, and so on with what is left in each of its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

from mcp_sdk.policy.lookup.domains import prefixed
from mcp_sdk.policy.lookup.normal import ENDS, Form, Path, Test, interval, together
from mcp_sdk.policy.lookup.ranges import Interval, layout, overlap
from mcp_sdk.policy.lookup.tree import Node, Tree

__all__ = ["Rules", "grow"]

SMALL = 3
"""So many rules are scanned: below the root, a further look-up costs more."""

KINDS = {"string": str, "int": int, "double": float, "bool": bool}
LENGTHS = 8
"""Prefixes of so many lengths are found by their characters; of more, by interval."""

UNSURE = ("bool", "double")
"""Keys of these kinds prove nothing: NaN is at some place of every row of intervals, and in none."""

WORTH = 0.75
"""A node must leave less than this share of its rules to look at."""


class Rules(NamedTuple):
    """What the index knows of each rule, by number, in columns, for there may be a hundred thousand.

    Its forms (see ``normal``), its constants, and whether an error makes it match.
    """

    forms: Sequence[tuple[Form, ...]]
    constants: Sequence[Sequence[Any]]
    on_error: Sequence[bool]


@dataclass(slots=True)
class _Split:
    """The entries of a node, by what leads to them."""

    table: dict[Any, Any] = field(default_factory=dict)
    """An entry, or a list of several, by value."""
    heads: dict[str, Any] = field(default_factory=dict)
    """The same, by prefix."""
    intervals: list[Interval] = field(default_factory=list)
    ranges: list[int] = field(default_factory=list)
    present: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)

    @property
    def expected(self) -> float:
        """How many entries a call comes upon that has the facts of one of them."""
        held = chain(self.table.values(), self.heads.values())
        points = [len(entries) if entries.__class__ is list else 1 for entries in held]
        always = len(self.rest) + len(self.present)
        keyed = sum(points) + len(self.ranges)
        if not keyed:
            return always + len(self.absent) / 2
        covered = overlap(self.intervals) if self.ranges else 0.0
        return always + (sum(count * count for count in points) + len(self.ranges) * covered) / keyed

    def unhead(self) -> None:
        """Make intervals of prefixes that are of too many lengths."""
        if len(set(map(len, self.heads))) <= LENGTHS:
            return
        for prefix, held in self.heads.items():
            domain = prefixed(prefix)
            for entry in held if held.__class__ is list else [held]:
                self.intervals.append((domain.low, domain.high))
                self.ranges.append(entry)
        self.heads.clear()


def _add(table: dict[Any, Any], value: Any, entry: int) -> None:
    held = table.get(value)
    if held is None:
        table[value] = entry
    elif held.__class__ is list:
        held.append(entry)
    else:
        table[value] = [held, entry]


def grow(rules: Rules) -> Tree:
    """Build the tree of some rules."""
    tree = Tree(rules.on_error)
    builder = _Builder(tree, rules)
    tree.root = builder.build(builder.entries(), small=1)
    return tree


class _Builder:
    """Builds a tree. An entry is one form of a rule, less the tests that were taken on the way to it.

    It is an int, ``form * size + rule``, where ``form`` numbers the rows of ``forms``: a hundred thousand small objects
    would cost more to keep, and to have the garbage collector look at, than the rules themselves.
    """

    def __init__(self, tree: Tree, rules: Rules) -> None:
        self.tree, self.rules, self.size = tree, rules, max(tree.size, 1)
        self.forms: list[dict[Path, tuple[Test, ...]]] = []
        self.exact: list[bool] = []
        self.passed: list[int] = []
        """What was surely found on the way to each form, as a number of ``tree.found``."""
        self.less: dict[tuple[int, Path, bool], int] = {}
        self.numbers: dict[frozenset[Test], int] = {}
        self.common = cache(self.both)

    def entries(self) -> list[int]:
        numbers = {forms: [self.number(form) for form in forms] for forms in dict.fromkeys(self.rules.forms)}
        return [form * self.size + rule for rule, forms in enumerate(self.rules.forms) for form in numbers[forms]]

    def number(self, form: Form) -> int:
        tests: dict[Path, tuple[Test, ...]] = {}
        for test in form.tests:
            tests[test.path] = (*tests.get(test.path, ()), test)
        return self.add(tests, self.known(frozenset()), exact=form.exact)

    def add(self, tests: dict[Path, tuple[Test, ...]], passed: int, *, exact: bool) -> int:
        self.forms.append(tests)
        self.passed.append(passed)
        self.exact.append(exact)
        return len(self.forms) - 1

    def known(self, tests: frozenset[Test]) -> int:
        """Number the sets of tests that are surely found on some way; 0 is left for rules that no way asks."""
        number = self.numbers.setdefault(tests, len(self.tree.found))
        if number == len(self.tree.found):
            self.tree.found.append(tests)
        return number

    def both(self, one: int, other: int) -> int:
        return self.known(self.tree.found[one] & self.tree.found[other])

    def build(self, entries: list[int], small: int = SMALL) -> Any:
        if not entries:
            return None
        best = self.best(entries) if len(entries) > small else None
        if best is None:
            return self.leaf(entries)
        path, split = best
        node = Node(path, self.kind(entries, path), self.built(split.table), self.built(split.heads))
        node.lengths = tuple(sorted(set(map(len, split.heads))))
        node.present, node.absent, node.rest = map(self.build, (split.present, split.absent, split.rest))
        if split.ranges:
            self.lay(node, split)
        return self.tree.ready(node)

    def kind(self, entries: list[int], path: Path) -> type[Any] | None:
        """Give the type of a fact's values, as the tests of it say."""
        forms = {entry // self.size for entry in entries}
        kinds = (test.kind for form in forms for test in self.forms[form].get(path, ()) if test.kind)
        return KINDS.get(next(kinds, ""))

    def built(self, table: dict[Any, Any]) -> dict[Any, Any]:
        """Build what each value leads to; the values of an ``in`` list stand side by side, and share one leaf."""
        alone = leaf = None
        for value, held in table.items():
            if held.__class__ is list:
                table[value] = self.build(held)
            else:
                if held != alone:
                    alone, leaf = held, self.leaf([held])
                table[value] = leaf
        return table

    def lay(self, node: Node, split: _Split) -> None:
        """Build what lies at each place of a layout; neighbours often hold the same."""
        node.cuts, places, node.flat = layout(split.intervals)
        built: dict[tuple[int, ...], Any] = {}
        for place, held in enumerate(places):
            if held.__class__ is list:
                key = tuple(held)
                if key not in built:
                    built[key] = self.build([split.ranges[number] for number in held])
                places[place] = built[key]
            elif held is not None:
                places[place] = self.build([split.ranges[held]])
        node.slots = places

    def best(self, entries: list[int]) -> tuple[Path, _Split] | None:
        """Choose the fact that leaves the fewest rules to look at; None when none is worth a look."""
        counts: Counter[Path] = Counter()
        ordered: set[Path] = set()
        for form, count in Counter(entry // self.size for entry in entries).items():
            counts.update(dict.fromkeys(self.forms[form], count))
            ordered.update(path for path, tests in self.forms[form].items() if tests[0].op in ENDS)
        chosen: tuple[float, Path, _Split] | None = None
        for path in sorted(counts, key=lambda path: (-counts[path], path in ordered, path)):
            least = chosen[0] if chosen else WORTH * len(entries)
            if len(entries) - counts[path] + bool(chosen) >= least:  # a call comes upon one entry at the least
                break
            split = self.split(entries, path)
            expected = split.expected
            if expected < least:
                chosen = (expected, path, split)
        return chosen and chosen[1:]

    def split(self, entries: list[int], path: Path) -> _Split:
        found, size, forms, constants = _Split(), self.size, self.forms, self.rules.constants
        for entry in entries:
            form, rule = divmod(entry, size)
            tests = forms[form].get(path)
            if tests is None:
                found.rest.append(entry)
            elif len(tests) == 1 and tests[0].op == "==" and not tests[0].or_absent:
                value = tests[0].operand(constants[rule])
                _add(found.table, value, self.taken(form, path, sure=True) * size + rule)
            elif len(tests) == 1 and tests[0].op == "in" and tests[0].kind == "string" and not tests[0].or_absent:
                kept = self.taken(form, path, sure=True) * size + rule
                for value in dict.fromkeys(tests[0].operand(constants[rule])):
                    _add(found.table, value, kept)
            elif len(tests) == 1 and tests[0].op == "prefix" and not tests[0].or_absent:
                prefix = tests[0].operand(constants[rule])
                _add(found.heads, prefix, self.taken(form, path, sure=True) * size + rule)
            else:
                self.place(form, rule, path, found)
        found.unhead()
        return found

    def place(self, form: int, rule: int, path: Path, found: _Split) -> None:
        tests, constants = self.forms[form][path], self.rules.constants[rule]
        domain = interval(tests, constants) or together(test.domain(constants) for test in tests)
        sure = not domain.but and not any(test.kind in UNSURE for test in tests)
        kept = self.taken(form, path, sure=sure) * self.size + rule
        if domain.absent:
            found.absent.append(kept)
        if domain.values is not None:
            for value in domain.values:
                _add(found.table, value, kept)
        elif domain.low is None and domain.high is None:
            found.present.append(kept)
        elif not domain.hollow:
            found.intervals.append((domain.low, domain.high))
            found.ranges.append(kept)

    def taken(self, form: int, path: Path, *, sure: bool) -> int:
        """Give the number of a form less its tests of one fact."""
        key = (form, path, sure)
        number = self.less.get(key)
        if number is None:
            left = {other: tests for other, tests in self.forms[form].items() if other != path}
            passed = self.passed[form]
            if sure:
                passed = self.known(self.tree.found[passed].union(self.forms[form][path]))
            number = self.less[key] = self.add(left, passed, exact=self.exact[form] and sure)
        return number

    def leaf(self, entries: list[int]) -> Any:
        if len(entries) == 1:
            form, rule = divmod(entries[0], self.size)
            return rule if self.exact[form] and not self.forms[form] else self.asked(form, rule)
        sure: dict[int, bool] = {}
        for form, rule in (divmod(entry, self.size) for entry in entries):
            sure[rule] = sure.get(rule, False) or (self.exact[form] and not self.forms[form])
            self.asked(form, rule)
        numbers = tuple(number if sure[number] else ~number for number in sorted(sure))
        return numbers if len(numbers) > 1 else numbers[0]

    def asked(self, form: int, rule: int) -> int:
        """Give the leaf of a rule that must be asked; what every way to it has found need not be."""
        passed, ways = self.passed[form], self.tree.ways
        if ways[rule] != passed:
            ways[rule] = self.common(ways[rule], passed) if ways[rule] else passed
        return ~rule
