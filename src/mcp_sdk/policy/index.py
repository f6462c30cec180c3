"""The look-up from a call to the first matching rule, at a cost that does not grow with the rules that cannot match.

A rule is found by the facts that its condition tests (see ``normal``): equality, ``in`` lists, prefixes, ranges,
presence, booleans, and conjunctions of them; each side of ``||`` has keys of its own. The index is a tree: each node
parts its rules by the fact that leaves the fewest to look at, by value, by interval, or by whether it is there. What a
fact does not part stays in the node's ``rest``; what nothing parts is scanned, in order.

A leaf is a rule's number, or a tuple of several. A rule of which every test was taken on the way is *sure*: it matches,
and its condition is not asked. One that must be asked stands as ``~number``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from mcp_sdk.policy.lookups import quick_find, quick_first, reader
from mcp_sdk.policy.normal import Form, Path, Test, interval, together
from mcp_sdk.policy.ranges import Interval, layout, overlap

__all__ = ["Condition", "Index", "Node", "Row", "Rules", "Tree"]

Condition = Callable[[Any, Any], Any]
Find = Callable[[Any, Any, int], int]
OutcomeT = TypeVar("OutcomeT")
SMALL = 3
"""So many rules are scanned: below the root, a further look-up costs more."""

WORTH = 0.75
"""A node must leave less than this share of its rules to look at."""


class Rules(NamedTuple):
    """What the index knows of each rule, by number, in columns, for there may be a hundred thousand.

    Its forms (see ``normal``), its constants, and whether an error makes it match.
    """

    forms: Sequence[tuple[Form, ...]]
    constants: Sequence[Sequence[Any]]
    on_error: Sequence[bool]


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
    """Rules in order, found by the contexts ``c`` and the request ``q``.

    ``make`` gives the condition of a rule's number, and is asked when a look-up first comes upon it. A tree holds
    nothing of a revision, so the next one goes on with it where the rules are the same.
    """

    make: Callable[[int], Condition]

    def __init__(self, rules: Rules) -> None:
        self.size: int = len(rules.forms)
        self.on_error: Sequence[bool] = rules.on_error
        self.conditions: list[Condition | None] = [None] * self.size
        builder = _Builder(self, rules)
        self.root: Any = builder.build(builder.entries(), small=1)

    def holds(self, number: int) -> Condition:
        """Give the condition of a rule."""
        found = self.conditions[number]
        if found is None:
            found = self.conditions[number] = self.make(number)
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
            if number >= 0:
                return min(number, limit)
            asked = ~number
            if asked >= limit:
                return limit
            try:
                if (self.conditions[asked] or self.holds(asked))(c, q):
                    return asked
            except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                if self.on_error[asked]:
                    return asked
        return limit

    def search(self, part: Any, c: Any, q: Any, limit: int) -> int:
        """Give the first matching rule of a part, if it stands before ``limit``; else ``limit``."""
        if part.__class__ is tuple:
            return self.scan(part, c, q, limit)
        if part.__class__ is int:
            return self.scan((part,), c, q, limit)
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
                numbers = part if part.__class__ is tuple else (part,)
                found += [(number, True) if number >= 0 else (~number, False) for number in numbers]
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
        return lambda c, q: self._first(c, q, default)

    def _scanner(self, numbers: tuple[int, ...], default: OutcomeT | None) -> Callable[[Any, Any], OutcomeT | None]:
        """Give the look-up of rules that nothing parts."""
        tree, outcome = self.tree, self.outcome
        conditions, holds, on_error = tree.conditions, tree.holds, tree.on_error
        asked = [number if number >= 0 else ~number for number in numbers]

        def first(c: Any, q: Any) -> OutcomeT | None:
            for number in asked:
                try:
                    if (conditions[number] or holds(number))(c, q):
                        return outcome(number)
                except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                    if on_error[number]:
                        return outcome(number)
            return default

        return first

    def _first(self, c: Any, q: Any, default: OutcomeT | None) -> OutcomeT | None:
        number = self.tree.first(c, q)
        return default if number == self.size else self.outcome(number)

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


@dataclass(slots=True)
class _Split:
    """The entries of a node, by what leads to them."""

    table: dict[Any, Any] = field(default_factory=dict)
    """An entry, or a list of several, by value."""
    intervals: list[Interval] = field(default_factory=list)
    ranges: list[int] = field(default_factory=list)
    present: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)

    @property
    def expected(self) -> float:
        """How many entries a call comes upon that has the facts of one of them."""
        points = [len(held) if held.__class__ is list else 1 for held in self.table.values()]
        always = len(self.rest) + len(self.present)
        keyed = sum(points) + len(self.ranges)
        if not keyed:
            return always + len(self.absent) / 2
        covered = overlap(self.intervals) if self.ranges else 0.0
        return always + (sum(count * count for count in points) + len(self.ranges) * covered) / keyed

    def add(self, value: Any, entry: int) -> None:
        held = self.table.get(value)
        if held is None:
            self.table[value] = entry
        elif held.__class__ is list:
            held.append(entry)
        else:
            self.table[value] = [held, entry]


class _Builder:
    """Builds a tree. An entry is one form of a rule, less the tests that were taken on the way to it.

    It is an int, ``form * size + rule``, where ``form`` numbers the rows of ``forms``: a hundred thousand small objects
    would cost more to keep, and to have the garbage collector look at, than the rules themselves.
    """

    def __init__(self, tree: Tree, rules: Rules) -> None:
        self.tree, self.rules, self.size = tree, rules, max(tree.size, 1)
        self.forms: list[dict[Path, tuple[Test, ...]]] = []
        self.exact: list[bool] = []
        self.less: dict[tuple[int, Path, bool], int] = {}

    def entries(self) -> list[int]:
        numbers = {forms: [self.number(form) for form in forms] for forms in dict.fromkeys(self.rules.forms)}
        return [form * self.size + rule for rule, forms in enumerate(self.rules.forms) for form in numbers[forms]]

    def number(self, form: Form) -> int:
        tests: dict[Path, tuple[Test, ...]] = {}
        for test in form.tests:
            tests[test.path] = (*tests.get(test.path, ()), test)
        self.forms.append(tests)
        self.exact.append(form.exact)
        return len(self.forms) - 1

    def build(self, entries: list[int], small: int = SMALL) -> Any:
        if not entries:
            return None
        best = self.best(entries) if len(entries) > small else None
        if best is None:
            return self.leaf(entries)
        path, split = best
        node = Node(path, split.table)
        for value, held in split.table.items():
            split.table[value] = self.build(held if held.__class__ is list else [held])
        node.present, node.absent, node.rest = map(self.build, (split.present, split.absent, split.rest))
        if split.ranges:
            self.lay(node, split)
        return self.tree.ready(node)

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
        for form, count in Counter(entry // self.size for entry in entries).items():
            counts.update(dict.fromkeys(self.forms[form], count))
        chosen: tuple[float, Path, _Split] | None = None
        for path in sorted(counts, key=lambda path: (-counts[path], path)):
            least = chosen[0] if chosen else WORTH * len(entries)
            if len(entries) - counts[path] >= least:
                break
            split = self.split(entries, path)
            if split.expected < least:
                chosen = (split.expected, path, split)
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
                found.add(value, self.taken(form, path, sure=True) * size + rule)
            else:
                self.place(form, rule, path, found)
        return found

    def place(self, form: int, rule: int, path: Path, found: _Split) -> None:
        tests, constants = self.forms[form][path], self.rules.constants[rule]
        domain = interval(tests, constants) or together(test.domain(constants) for test in tests)
        sure = not domain.but and tests[0].kind not in ("bool", "double")
        kept = self.taken(form, path, sure=sure) * self.size + rule
        if domain.absent:
            found.absent.append(kept)
        if domain.values is not None:
            for value in domain.values:
                found.add(value, kept)
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
            number = self.less[key] = len(self.forms)
            self.forms.append({other: tests for other, tests in self.forms[form].items() if other != path})
            self.exact.append(self.exact[form] and sure)
        return number

    def leaf(self, entries: list[int]) -> Any:
        sure: dict[int, bool] = {}
        for form, rule in (divmod(entry, self.size) for entry in entries):
            sure[rule] = sure.get(rule, False) or (self.exact[form] and not self.forms[form])
        numbers = tuple(number if sure[number] else ~number for number in sorted(sure))
        return numbers if len(numbers) > 1 else numbers[0]
