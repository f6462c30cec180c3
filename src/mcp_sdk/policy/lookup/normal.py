"""The normal form of conditions: a union of conjunctions, each of tests of one fact each.

A shape is brought to its form once for all its rules; ``facts_of`` then fills a rule's constants in. A conjunction says
what the facts *must* be for the rule to match: a superset, exact where it says so. What no test can say is left out.

For a rule that grants or routes, to match is that its condition is true; for one that refuses, that it is not false: an
error counts, so the fact that is absent is in its domains too. ``&&`` and ``||`` absorb errors as CEL does.

With ``whole``, a part that no test can tell is a fact of its own, under a path that begins with ``OPAQUE``: true, false
or, where it errs, absent. Then a form says when the rule matches in full, though such facts hang together in ways that
nothing here knows of: what holds whatever they are is certain, what needs them to go together is not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, NamedTuple

from mcp_sdk.policy.cel.presence import cannot_err, known_when_false, known_when_true, path_of
from mcp_sdk.policy.cel.schema import FIXED
from mcp_sdk.policy.cel.shapes import clause_shapes
from mcp_sdk.policy.lookup.domains import NOTHING, PRESENT, Domain, after, prefixed

__all__ = [
    "ENDS",
    "OPAQUE",
    "Conjunction",
    "Form",
    "Path",
    "Test",
    "disjuncts",
    "facts_of",
    "forms",
    "interval",
    "opaque_part",
    "path_to",
    "settled",
    "together",
]

Path = tuple[str, ...]
OPAQUE = "?"
"""Begins the path of a part that no test can tell; the part and its constants follow, as JSON."""
MAX_FORMS = 32
_KINDS = frozenset({"string", "int", "double"})
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<", "in": "not in", "not in": "in"}
ENDS = frozenset({"<", "<=", ">", ">="})
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMPARING = {"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}


class Test(NamedTuple):
    """A fact against constants: ``op`` is ``== != < <= > >= in``, ``not in``, ``prefix``, ``is``, ``has`` or ``lacks``.

    ``constant`` is the number of the rule's constant, or a tuple of several; ``literal`` stands in the shape itself.
    ``or_absent``: the test also holds where the fact is absent.
    """

    path: Path
    op: str
    kind: str = ""
    constant: int | tuple[int, ...] | None = None
    literal: Any = None
    or_absent: bool = False

    def domain(self, constants: Sequence[Any]) -> Domain:
        """Give the values for which the test holds."""
        if self.op in ("has", "lacks"):
            return PRESENT if self.op == "has" else Domain(frozenset(), absent=True)
        found = _domain(self.op, self.operand(constants))
        return found._replace(absent=True) if self.or_absent else found

    def place(self, constants: Sequence[Any]) -> Path:
        """Give the path of the fact; of a part that no test can tell, with its constants."""
        if self.path[0] != OPAQUE or not isinstance(self.constant, tuple):
            return self.path
        return (*self.path, json.dumps([constants[number] for number in self.constant]))

    def operand(self, constants: Sequence[Any]) -> Any:
        """Give what the fact is compared with."""
        if self.op == "is":
            return self.literal
        if self.constant is None:
            return self.literal
        if isinstance(self.constant, tuple):
            return [self._read(constants[number]) for number in self.constant]
        return self._read(constants[self.constant])

    def _read(self, plain: Any) -> Any:
        return float(plain) if self.kind == "double" else plain


class Form(NamedTuple):
    """One conjunction of a shape, constants left open. ``exact``: where every test holds, the rule matches."""

    tests: tuple[Test, ...]
    exact: bool


class Conjunction(NamedTuple):
    """What each fact must be; facts that are not named may be anything. ``exact``: then the rule matches, for sure."""

    facts: Mapping[Path, Domain]
    exact: bool


def disjuncts(
    shape: Any, params: Sequence[str], constants: Sequence[Any], *, on_error: bool, whole: bool = False
) -> list[Conjunction]:
    """Give the ways in which a rule can match; empty when it certainly never does."""
    filled = ((form, facts_of(form, constants)) for form in forms(shape, params, on_error=on_error, whole=whole))
    return [Conjunction(facts, form.exact) for form, facts in filled if facts is not None]


def facts_of(form: Form, constants: Sequence[Any]) -> dict[Path, Domain] | None:
    """Fill the constants in; None when no facts can fulfil it."""
    facts: dict[Path, Domain] = {}
    for test in form.tests:
        path = test.place(constants)
        domain, held = test.domain(constants), facts.get(path)
        facts[path] = domain if held is None else held.meet(domain)
    return None if any(domain.empty for domain in facts.values()) else facts


def together(domains: Iterable[Domain]) -> Domain:
    """Give the values that are in all of some domains."""
    return reduce(Domain.meet, domains)


def interval(tests: Sequence[Test], constants: Sequence[Any]) -> Domain | None:
    """Give the domain of order tests of one fact; None where a test is of another kind. Quicker than meeting."""
    low = high = None
    for _, op, kind, constant, _, or_absent in tests:
        if op not in ENDS or kind == "double" or or_absent:
            return None
        end = constants[constant]  # type: ignore[index]
        end = end if op in ("<", ">=") else after(end)
        if op in ("<", "<="):
            high = end if high is None else min(high, end)
        else:
            low = end if low is None else max(low, end)
    return Domain(None, low, high)


def forms(shape: Any, params: Sequence[str], *, on_error: bool, whole: bool = False) -> tuple[Form, ...]:
    """Bring a shape to its normal form; ``on_error`` for a rule that an error makes match."""
    return tuple(dict.fromkeys(_Normal(tuple(params), whole).when(shape, want=True, lenient=on_error)))


def settled(shape: Any, params: Sequence[str], tests: frozenset[Test], *, on_error: bool) -> tuple[int, ...]:
    """Give the numbers of the clauses (``clause_shapes``) of which some tests, where they hold, say all there is."""
    found = enumerate(forms(clause, params, on_error=on_error) for clause in clause_shapes(shape))
    return tuple(
        number for number, ways in found if len(ways) == 1 and ways[0].exact and tests.issuperset(ways[0].tests)
    )


def opaque_part(path: Path) -> Any:
    """Give the part, as a shape, that a path which begins with ``OPAQUE`` stands for."""
    return json.loads(path[1])


def path_to(node: Any) -> Path | None:
    """Give the path of an expression that reads one fact: of a model, or of a fixed variable; else None."""
    found = path_of(node)
    if found is not None:
        return found
    if node[0] not in ("get", "has") or _owner(node[1]) not in FIXED:
        return None  # a key of headers, query or attributes may be absent
    names: list[str] = []
    while node[0] in ("get", "has"):
        names.append(node[2])
        node = node[1]
    fixed = node[0] == "var" and names and node[1] in FIXED and node[1] == node[2]
    return (node[1], *reversed(names)) if fixed else None


def _owner(operand: Any) -> str:
    return str(operand[3] if operand[0] == "get" else operand[2] if operand[0] == "var" else "")


def _domain(op: str, operand: Any) -> Domain:
    values = operand if isinstance(operand, list) else [operand]
    kept = frozenset(value for value in values if not (isinstance(value, float) and math.isnan(value)))
    if op in ("==", "in", "is"):
        return Domain(kept)
    if op in ("!=", "not in"):
        return Domain(but=kept)
    if not kept:
        return NOTHING
    return prefixed(operand) if op == "prefix" else _ordered(op, operand)


def _ordered(op: str, value: Any) -> Domain:
    if op == "<":
        return Domain(high=value)
    if op == ">=":
        return Domain(low=value)
    following = after(value)
    if op == "<=":
        return Domain(high=following) if following is not None else Domain(low=-math.inf)
    return Domain(low=following) if following is not None else NOTHING


@dataclass(frozen=True)
class _Normal:
    """Walks a shape. ``want`` is the value that a part is to have; ``lenient``: an error will do as well."""

    params: tuple[str, ...]
    whole: bool = False

    def when(self, node: Any, *, want: bool, lenient: bool) -> list[Form]:
        """Give the forms of: the part has the value ``want``."""
        if node[0] == "lit" and node[1] in (True, False):
            return [Form((), exact=True)] if node[1] is want else []
        if node[0] == "call" and node[1] == "!_":
            return self.when(node[3], want=not want, lenient=lenient)
        if node[0] == "call" and node[1] in ("_&&_", "_||_"):
            left, right = (self.when(part, want=want, lenient=lenient) for part in node[3:5])
            found = _both(left, right) if (node[1] == "_&&_") == want else [*left, *right]
            return found if len(found) <= MAX_FORMS else self._opaque(node, want=want, lenient=lenient)
        test = self._test(node, want=want)
        if test is None:
            return self._opaque(node, want=want, lenient=lenient)
        absent = lenient and test.path[0] not in FIXED and test.op not in ("has", "lacks")
        return [Form((test._replace(or_absent=absent),), exact=True)]

    def _opaque(self, node: Any, *, want: bool, lenient: bool) -> list[Form]:
        """Say of a part that no test can tell which facts it cannot have a value without, and that it is one itself."""
        known = known_when_true(node) if want else known_when_false(node)
        tests = [] if lenient else [Test(path, "has") for path in sorted(known)]
        if self.whole:
            numbers: list[int] = []
            path = (OPAQUE, json.dumps(self._unnumbered(node, numbers)))
            errs = lenient and not cannot_err(node, frozenset())
            tests.append(Test(path, "is", "bool", tuple(numbers), literal=want, or_absent=errs))
        return [Form(tuple(tests), exact=self.whole)]

    def _unnumbered(self, node: Any, numbers: list[int]) -> Any:
        """Give a part with the types of constants instead of their numbers, which ``numbers`` gets in order."""
        if not isinstance(node, (list, tuple)) or not node or node[0] == "lit":
            return node
        if node[0] == "k":
            numbers.append(node[1])
            return ["k", self.params[node[1]]]
        return [self._unnumbered(part, numbers) for part in node]

    def _test(self, node: Any, *, want: bool) -> Test | None:
        if node[0] == "has":
            return _presence(node, want=want)
        if node[0] == "get":
            path = path_to(node)
            return Test(path, "is", "bool", literal=want) if path and node[3] == "bool" else None
        return self._called(node, want=want) if node[0] == "call" and len(node) == 5 else None

    def _called(self, node: Any, *, want: bool) -> Test | None:
        if node[1] in _COMPARING:
            return self._comparison(node, want=want)
        if node[1] == "@in":
            return self._membership(node[3], node[4], want=want)
        if node[1] == "startsWith" and want and self._is(node[4], "string"):
            return self._against(node[3], "prefix", node[4][1], "string")
        return None

    def _comparison(self, node: Any, *, want: bool) -> Test | None:
        op, fact, other = _COMPARING[node[1]], node[3], node[4]
        if fact[0] in ("k", "lit"):
            op, fact, other = _MIRRORED[op], other, fact
        path = path_to(fact) if fact[0] == "get" else None
        if path is None:
            return None
        if other[0] == "lit" and fact[3] == "bool" and op in ("==", "!=") and other[1] in (True, False):
            return Test(path, "is", "bool", literal=other[1] is (want == (op == "==")))
        if fact[3] not in _KINDS or not self._is(other, fact[3]):
            return None
        if not want and fact[3] == "double" and op not in ("==", "!="):
            return None  # what is not < 5 may be NaN, which no interval holds
        return Test(path, op if want else _NEGATED[op], fact[3], other[1])

    def _membership(self, fact: Any, members: Any, *, want: bool) -> Test | None:
        kind = fact[3] if fact[0] == "get" else ""
        op = "in" if want else "not in"
        if kind in _KINDS and self._is(members, f"list<{kind}>"):
            return self._against(fact, op, members[1], kind)
        if kind in _KINDS and members[0] == "list" and all(self._is(item, kind) for item in members[2:]):
            return self._against(fact, op, tuple(item[1] for item in members[2:]), kind)
        return None

    def _against(self, fact: Any, op: str, constant: int | tuple[int, ...], kind: str) -> Test | None:
        path = path_to(fact) if fact[0] == "get" and fact[3] == kind else None
        return None if path is None else Test(path, op, kind, constant)

    def _is(self, node: Any, kind: str) -> bool:
        return bool(node[0] == "k" and self.params[node[1]] == kind)


def _both(left: list[Form], right: list[Form]) -> list[Form]:
    if len(left) * len(right) > MAX_FORMS * MAX_FORMS:
        return [Form((), exact=False)] * (MAX_FORMS + 1)
    return [
        Form(tuple(dict.fromkeys((*a.tests, *b.tests))), exact=a.exact and b.exact) for a, b in product(left, right)
    ]


def _presence(node: Any, *, want: bool) -> Test | None:
    path = path_to(node)
    if path is None:
        return None
    if path_of(node) is not None:
        return Test(path, "has" if want else "lacks")
    owner = FIXED.get(_owner(node[1]), {})
    if owner.get(node[2]) != "string":
        return None
    return Test(path, "!=" if want else "==", "string", literal="")
