"""The look-up from a call to the first matching rule, at a cost that does not grow with the rules that cannot match.

A rule is found by the facts that its condition tests (see ``normal``): equality, ``in`` lists, prefixes, ranges,
presence, booleans, and conjunctions of them; each side of ``||`` has keys of its own. The index is a tree: each node
parts its rules by the fact that leaves the fewest to look at, by value, by interval, or by whether it is there. What a
fact does not part stays in the node's ``rest``; what nothing parts is scanned, in order.

A leaf is a tuple of rules' numbers. A rule of which every test was taken on the way is *sure*: it matches, and its
condition is not asked; it stands as ``~number``, and alone as the plain number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from mcp_sdk.policy.lookups import quick_find, quick_first, reader
from mcp_sdk.policy.normal import Form, Path, Test
from mcp_sdk.policy.ranges import Layout, layout, overlap

__all__ = ["Condition", "Index", "Node", "Row", "Rule", "Tree"]

Condition = Callable[[Any, Any], Any]
Find = Callable[[Any, Any, int], int]
OutcomeT = TypeVar("OutcomeT")
SMALL = 3
"""So many rules are scanned: below the root, a further look-up costs more."""

WORTH = 0.75
"""A node must leave less than this share of its rules to look at."""


class Rule(NamedTuple):
    """What the index knows of a rule: its forms (see ``normal``), its constants, and whether an error is a match."""

    forms: tuple[Form, ...]
    constants: Sequence[Any]
    on_error: bool


class Row(NamedTuple, Generic[OutcomeT]):
    """One rule, ready to run."""

    holds: Condition
    on_error: bool
    outcome: OutcomeT


@dataclass(slots=True)
class Node:
    """Parts rules by the fact at ``path``.

    ``table`` by its value; ``cuts`` and ``slots`` by interval (``places`` of a ``Layout``); ``present`` for any value,
    ``absent`` for none, ``rest`` always. ``find`` gives the first matching rule before a limit, else the limit.
    """

    path: Path
    table: dict[Any, Any] = field(default_factory=dict)
    cuts: list[Any] = field(default_factory=list)
    slots: list[Any] = field(default_factory=list)
    flat: bool = True
    present: Any = None
    absent: Any = None
    rest: Any = None
    find: Find = field(init=False, repr=False)
    read: Condition = field(init=False, repr=False)

    @property
    def plain(self) -> bool:
        """Whether one table, or one row of slots, is all there is beside absence."""
        alone = self.present is None and self.rest is None
        return alone and (not self.slots or (self.flat and not self.table))

    def at(self, value: Any) -> Iterator[Any]:
        """Yield the parts that a value leads to; None is absence."""
        if value is None:
            yield self.absent
        else:
            yield self.table.get(value)
            yield from self.covering(value)
            yield self.present
        yield self.rest

    def covering(self, value: Any) -> Iterator[Any]:
        """Yield the parts of the intervals that a value is in."""
        if not self.slots:
            return
        place = bisect_right(self.cuts, value)
        if self.flat:
            yield self.slots[place]
            return
        place += len(self.cuts) + 1
        while place:
            yield self.slots[place]
            place >>= 1


class Tree:
    """Rules in order, found by the contexts ``c`` and the request ``q``; conditions are made when first asked.

    It holds nothing of a revision, so the next one goes on with it where the rules are the same.
    """

    def __init__(self, rules: Sequence[Rule], make: Callable[[int], Condition]) -> None:
        self.size: int = len(rules)
        self.on_error: list[bool] = [rule.on_error for rule in rules]
        self.conditions: list[Condition | None] = [None] * self.size
        self._make = make
        self.root: Any = _Builder(self).build(list(_entries(rules)), small=1)

    def holds(self, number: int) -> Condition:
        """Give the condition of a rule."""
        found = self.conditions[number]
        if found is None:
            found = self.conditions[number] = self._make(number)
        return found

    def matches(self, number: int, c: Any, q: Any) -> bool:
        """Ask one rule."""
        try:
            return bool(self.holds(number)(c, q))
        except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
            return self.on_error[number]

    def scan(self, numbers: tuple[int, ...], c: Any, q: Any, limit: int) -> int:
        """Give the first of some rules that matches, if it stands before ``limit``; else ``limit``."""
        for number in numbers:
            if number < 0:
                return min(~number, limit)
            if number >= limit:
                return limit
            try:
                if (self.conditions[number] or self.holds(number))(c, q):
                    return number
            except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                if self.on_error[number]:
                    return number
        return limit

    def search(self, part: Any, c: Any, q: Any, limit: int) -> int:
        """Give the first matching rule of a part, if it stands before ``limit``; else ``limit``."""
        if part.__class__ is tuple:
            return self.scan(part, c, q, limit)
        if part.__class__ is int:
            return min(part, limit)
        found: int = part.find(c, q, limit)
        return found

    @property
    def plain(self) -> bool:
        """Whether one look-up by value or interval leads to every rule."""
        return isinstance(self.root, Node) and self.root.plain

    def first(self, c: Any, q: Any) -> int:
        """Give the number of the first rule that matches; ``size`` when none does."""
        try:
            return self.size if self.root is None else self.search(self.root, c, q, self.size)
        except Exception:  # noqa: BLE001 - a fact of another type is no key
            return next(self.linear(c, q), self.size)

    def linear(self, c: Any, q: Any) -> Iterator[int]:
        """Yield the numbers of all rules that match, asking each: the slow truth."""
        return (number for number in range(self.size) if self.matches(number, c, q))

    def every(self, c: Any, q: Any) -> list[int]:
        """Give the numbers of all rules that match, in order."""
        try:
            candidates = dict(self.candidates(c, q))
        except Exception:  # noqa: BLE001 - a fact of another type is no key
            return list(self.linear(c, q))
        return [number for number in sorted(candidates) if candidates[number] or self.matches(number, c, q)]

    def candidates(self, c: Any, q: Any) -> list[tuple[int, bool]]:
        """Give the rules that may match, in order, and whether they surely do; the sure word on a rule last."""
        found: list[tuple[int, bool]] = []
        stack = [self.root]
        while stack:
            part = stack.pop()
            if isinstance(part, Node):
                stack.extend(part.at(part.read(c, q)))
            elif part is not None:
                numbers = part if part.__class__ is tuple else (~part,)
                found += [(~number, True) if number < 0 else (number, False) for number in numbers]
        return sorted(found)

    def ready(self, node: Node) -> Node:
        """Give a node its look-up, the plainest that does."""
        node.read = reader(node.path)
        node.find = quick_find(self, node) if node.plain else self._any(node)
        return node

    def _any(self, node: Node) -> Find:
        read, at, search = node.read, node.at, self.search

        def find(c: Any, q: Any, limit: int) -> int:
            for part in at(read(c, q)):
                if part is not None:
                    limit = search(part, c, q, limit)
            return limit

        return find


class Index(Generic[OutcomeT]):
    """What the rules of a tree say: ``make`` gives the outcome of a rule's number when it is first found.

    ``first(c, q)`` gives the outcome of the first rule that matches, or ``default`` when none does.
    """

    __slots__ = ("_default", "_make", "_outcomes", "first", "size", "tree")

    def __init__(self, tree: Tree, make: Callable[[int], OutcomeT], default: OutcomeT | None = None) -> None:
        self.tree, self._make, self._default, self.size = tree, make, default, tree.size
        self._outcomes: list[OutcomeT | None] = [None] * tree.size
        self.first: Callable[[Any, Any], OutcomeT | None] = self._quick() or self._first

    def _quick(self) -> Callable[[Any, Any], OutcomeT | None] | None:
        root = self.tree.root
        if isinstance(root, tuple) and min(root) >= 0:
            return self._scanner(root)
        return quick_first(self.tree, self._outcomes, self.outcome, self._default) if self.tree.plain else None

    def _scanner(self, numbers: tuple[int, ...]) -> Callable[[Any, Any], OutcomeT | None]:
        """Give the look-up of rules that nothing parts."""
        tree, outcome, default = self.tree, self.outcome, self._default
        conditions, holds, on_error = tree.conditions, tree.holds, tree.on_error

        def first(c: Any, q: Any) -> OutcomeT | None:
            for number in numbers:
                try:
                    if (conditions[number] or holds(number))(c, q):
                        return outcome(number)
                except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                    if on_error[number]:
                        return outcome(number)
            return default

        return first

    def _first(self, c: Any, q: Any) -> OutcomeT | None:
        number = self.tree.first(c, q)
        return self._default if number == self.size else self.outcome(number)

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
        return tuple(Row(tree.holds(n), tree.on_error[n], self.outcome(n)) for n in range(self.size))

    def every(self, c: Any, q: Any) -> list[OutcomeT]:
        """Give the outcomes of all rules that match, in order."""
        return [self.outcome(number) for number in self.tree.every(c, q)]


class _Entry(NamedTuple):
    """One form of a rule, less the tests that were taken on the way to it."""

    number: int
    form: Form
    constants: Sequence[Any]


def _entries(rules: Sequence[Rule]) -> Iterator[_Entry]:
    return (_Entry(number, form, rule.constants) for number, rule in enumerate(rules) for form in rule.forms)


@dataclass(slots=True)
class _Split:
    """The entries of a node, by what leads to them."""

    table: dict[Any, list[_Entry]] = field(default_factory=dict)
    ranges: list[tuple[Any, Any, _Entry]] = field(default_factory=list)
    present: list[_Entry] = field(default_factory=list)
    absent: list[_Entry] = field(default_factory=list)
    rest: list[_Entry] = field(default_factory=list)

    @property
    def expected(self) -> float:
        """How many entries a call comes upon that has the facts of one of them."""
        points = [len(entries) for entries in self.table.values()]
        always = len(self.rest) + len(self.present)
        keyed = sum(points) + len(self.ranges)
        if not keyed:
            return always + len(self.absent) / 2
        covered = overlap([(low, high) for low, high, _ in self.ranges]) if self.ranges else 0.0
        return always + (sum(count * count for count in points) + len(self.ranges) * covered) / keyed


class _Builder:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.less: dict[tuple[int, Path, bool], Form] = {}

    def build(self, entries: list[_Entry], small: int = SMALL) -> Any:
        if not entries:
            return None
        best = self.best(entries) if len(entries) > small else None
        if best is None:
            return _leaf(entries)
        path, split = best
        node = Node(path, {value: self.build(part) for value, part in split.table.items()})
        node.present, node.absent, node.rest = map(self.build, (split.present, split.absent, split.rest))
        if split.ranges:
            self.lay(node, split.ranges)
        return self.tree.ready(node)

    def lay(self, node: Node, ranges: list[tuple[Any, Any, _Entry]]) -> None:
        found: Layout = layout([(low, high) for low, high, _ in ranges])
        built: dict[tuple[int, ...], Any] = {}
        for place in found.places:
            key = tuple(place)
            if key not in built:
                built[key] = self.build([ranges[number][2] for number in place])
            node.slots.append(built[key])
        node.cuts, node.flat = found.cuts, found.flat

    def best(self, entries: list[_Entry]) -> tuple[Path, _Split] | None:
        """Choose the fact that leaves the fewest rules to look at; None when none is worth a look."""
        counts = Counter(path for entry in entries for path in {test.path for test in entry.form.tests})
        chosen: tuple[float, Path, _Split] | None = None
        for path in sorted(counts, key=lambda path: (-counts[path], path)):
            if len(entries) - counts[path] >= (chosen[0] if chosen else WORTH * len(entries)):
                break
            split = self.split(entries, path)
            if split.expected < (chosen[0] if chosen else WORTH * len(entries)):
                chosen = (split.expected, path, split)
        return chosen and chosen[1:]

    def split(self, entries: list[_Entry], path: Path) -> _Split:
        found = _Split()
        for entry in entries:
            tests = [test for test in entry.form.tests if test.path == path]
            if not tests:
                found.rest.append(entry)
            elif len(tests) == 1 and tests[0].op == "==" and not tests[0].or_absent:
                value = tests[0].operand(entry.constants)
                found.table.setdefault(value, []).append(self.taken(entry, path, sure=value == value))  # noqa: PLR0124
            else:
                self.place(entry, path, tests, found)
        return found

    def place(self, entry: _Entry, path: Path, tests: list[Test], found: _Split) -> None:
        domain = tests[0].domain(entry.constants)
        for test in tests[1:]:
            domain = domain.meet(test.domain(entry.constants))
        kept = self.taken(entry, path, sure=not domain.but and tests[0].kind not in ("bool", "double"))
        if domain.absent:
            found.absent.append(kept)
        if domain.values is not None:
            for value in domain.values:
                found.table.setdefault(value, []).append(kept)
        elif domain.low is None and domain.high is None:
            found.present.append(kept)
        elif not domain._replace(absent=False).empty:
            found.ranges.append((domain.low, domain.high, kept))

    def taken(self, entry: _Entry, path: Path, *, sure: bool) -> _Entry:
        """Give an entry less its tests of one fact."""
        key = (id(entry.form), path, sure)
        form = self.less.get(key)
        if form is None:
            rest = tuple(test for test in entry.form.tests if test.path != path)
            form = self.less[key] = Form(rest, entry.form.exact and sure)
        return _Entry(entry.number, form, entry.constants)


def _leaf(entries: list[_Entry]) -> Any:
    sure: dict[int, bool] = {}
    for number, form, _ in entries:
        sure[number] = sure.get(number, False) or (form.exact and not form.tests)
    numbers = tuple(~number if sure[number] else number for number in sorted(sure))
    return ~numbers[0] if len(numbers) == 1 and numbers[0] < 0 else numbers
