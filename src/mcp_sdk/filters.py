"""Residues → filters of a database: the walk that every translator shares.

A translator is a ``Dialect``: it knows columns, and a few verbs. The walk knows what a fact is of a row: an absent fact
is NULL, an empty id, or a value that does not fit; a decimal is compared in major units, a timestamp in UTC; NaN passes
no ``>``. Every test that it builds is true or false, never NULL, so that a filter may stand under NOT. What would not
mean the same to a database raises ``Untranslatable``: there is no filter that is nearly right.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

from mcp_sdk.exceptions import ModelError, Untranslatable
from mcp_sdk.models import INT64, BusinessModel
from mcp_sdk.reading import Reader
from mcp_sdk.residue import All, Always, Compare, Condition, Has, Never, Not, Opaque, Residue, Size, Some

__all__ = ["Column", "Dialect", "Leaf", "translate"]

F = TypeVar("F")
Leaf = Has | Compare | Size
_MAX_DIGITS = 10**15
_INTEGER = re.compile(r"-?[0-9]{1,19}\Z")
_EXACT = Context(prec=64)


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the walk sees it.

    ``kind`` is ``string int double decimal timestamp uuid choice``, or empty for a type that is not known. ``clause``
    is the dialect's own. ``choices`` are the values that a ``choice`` may have. ``digits`` are a decimal's after
    the point, None where there is no limit; ``naive`` says that timestamps are kept without a zone. ``shown`` names it.
    """

    kind: str
    clause: Any
    shown: str = ""
    choices: tuple[Any, ...] = ()
    digits: int | None = None
    naive: bool = False


class Dialect(ABC, Generic[F]):
    """The verbs of a kind of filter. Texts are compared by code point, and hold no NUL."""

    @abstractmethod
    def column(self, field: str, source: str) -> Column:
        """Give the column of a fact; ``source`` is the member of the class. Raises ``LookupError`` with the reason."""

    @abstractmethod
    def constant(self, value: bool) -> F:  # noqa: FBT001
        """Every row, or none."""

    @abstractmethod
    def join(self, parts: Sequence[F], *, every: bool) -> F:
        """All parts, or some."""

    @abstractmethod
    def negate(self, part: F) -> F:
        """Not the part."""

    @abstractmethod
    def present(self, column: Column) -> F:
        """The column is not NULL."""

    @abstractmethod
    def compare(self, column: Column, op: str, value: Any) -> F:
        """``op`` is ``== != < <= > >=``."""

    @abstractmethod
    def one_of(self, column: Column, values: Sequence[Any]) -> F:
        """The column has one of some values, of which there is at least one."""

    @abstractmethod
    def text(self, column: Column, op: str, part: str) -> F:
        """``op`` is ``starts_with``, ``ends_with`` or ``contains``; ``part`` is not empty."""

    @abstractmethod
    def size(self, column: Column, op: str, count: int) -> F:
        """The number of code points compares with a count."""

    @abstractmethod
    def whole(self, column: Column) -> F:
        """The text has no NUL, where SQLite's functions would end it."""


def translate(
    residue: Residue,
    dialect: Dialect[F],
    *,
    tests: Mapping[str, Callable[[Leaf], F]] | None = None,
    superset: bool = False,
) -> F:
    """Write a residue as a filter.

    ``tests`` gives, for facts that are kept in a way of their own, the filter of a ``Has``, ``Compare`` or ``Size``; it
    must be true or false of every row. ``superset`` leaves out what cannot be translated, so that the filter also lists
    what ``residue.holds`` refuses: ask that of each row. Raises ``Untranslatable`` otherwise.
    """
    return _Walk(residue.model, dialect, tests or {}, superset).condition(residue.condition)


@dataclass(frozen=True, slots=True)
class _Walk(Generic[F]):
    model: BusinessModel
    dialect: Dialect[F]
    tests: Mapping[str, Callable[[Leaf], F]]
    superset: bool

    def condition(self, node: Condition) -> F:
        if isinstance(node, (Always, Never)):
            return self.dialect.constant(isinstance(node, Always))
        if isinstance(node, (All, Some)):
            return self.dialect.join([self.condition(part) for part in node.parts], every=isinstance(node, All))
        try:
            return self.leaf(node)
        except Untranslatable:
            if self.superset:
                return self.dialect.constant(True)
            raise

    def leaf(self, node: Leaf | Not | Opaque) -> F:
        if isinstance(node, Not):
            inner = self.leaf(node.part)
            guard = self.guard(node.part)
            negated = self.dialect.negate(inner)
            return negated if guard is None else self.both(guard, negated)
        if isinstance(node, Opaque):
            raise Untranslatable(node.origin, node.why)
        own = self.tests.get(node.field)
        return own(node) if own is not None else _Leaf(self, node, self.column(node)).filter()

    def guard(self, node: Leaf) -> F | None:
        """Give what a negated test must not take for true: a text that the database cannot see to its end."""
        if node.field in self.tests or not _sees_the_end(node):
            return None
        column = self.column(node)
        if column.kind != "string":
            return None
        return self.dialect.join(
            [self.dialect.negate(self.dialect.present(column)), self.dialect.whole(column)], every=False
        )

    def both(self, *parts: F) -> F:
        return self.dialect.join(parts, every=True)

    def column(self, node: Leaf) -> Column:
        try:
            return self.dialect.column(node.field, self.source(node.field))
        except LookupError as error:
            raise Untranslatable(node.origin, str(error.args[0])) from None

    def source(self, field: str) -> str:
        if field in ("id", "state"):
            return self.model.key if field == "id" else self.model.state
        spec = self.model.attributes.get(field)
        return (spec.source or spec.name) if spec is not None else field

    def kind(self, field: str) -> str:
        spec = self.model.attributes.get(field)
        return "string" if field in ("id", "state") else spec.type if spec is not None else ""


def _sees_the_end(node: Leaf) -> bool:
    return isinstance(node, Size) or (isinstance(node, Compare) and node.op == "ends_with")


@dataclass(frozen=True, slots=True)
class _Leaf(Generic[F]):
    """One test of one column."""

    walk: _Walk[F]
    node: Leaf
    column: Column

    def filter(self) -> F:
        kinds = (self.walk.kind(self.node.field), self.column.kind)
        if self._enumerable(kinds):
            return self._enumerated()
        write = _WRITERS.get(kinds)
        if write is None:
            raise self._untranslatable(f"a {kinds[0] or 'fact'} is kept in {self.column.shown}")
        present = self._present(kinds[0])
        return present if isinstance(self.node, Has) else self.walk.both(present, write(self, self.node))

    def _untranslatable(self, why: str) -> Untranslatable:
        return Untranslatable(self.node.origin, f"{self.node.field}: {why}")

    def _never(self) -> F:
        return self.walk.dialect.constant(False)

    def _compare(self, op: str, value: Any) -> F:
        return self.walk.dialect.compare(self.column, op, value)

    def _present(self, kind: str) -> F:
        parts = [self.walk.dialect.present(self.column)]
        if self.node.field == "id" and self.column.kind == "string":
            parts.append(self._compare("!=", ""))
        if kind == "decimal":
            parts += self._fitting()
        return self.walk.both(*parts)

    # Columns of few values

    def _enumerable(self, kinds: tuple[str, str]) -> bool:
        return kinds[1] == "choice" or (self.node.field == "state" and kinds[1] != "string")

    def _enumerated(self) -> F:
        """Ask each value that the column may have."""
        of_states = (member.value for member in self.walk.model.states_enum or ())
        choices = self.column.choices if self.column.kind == "choice" else tuple(of_states)
        read = {choice: fact for choice in choices if (fact := self._fact(choice)) is not None}
        node = self.node
        kept = [choice for choice, fact in read.items() if isinstance(node, Has) or node.accepts(fact)]
        if not kept:
            return self._never()
        return self.walk.both(self.walk.dialect.present(self.column), self.walk.dialect.one_of(self.column, kept))

    def _fact(self, choice: Any) -> Any:
        model, field = self.walk.model, self.node.field
        reader = Reader(model, dict, name=str)
        if field in ("id", "state"):
            facts = reader.read({model.key: choice, model.state: choice})
            return (facts.entity_id or None) if field == "id" else facts.state
        try:
            return model.attributes[field].capture(choice)
        except ModelError:
            return None

    # Texts

    def test_text(self, node: Any) -> F:
        texts = [node.value] if isinstance(node.value, str) else node.value if isinstance(node, Compare) else ()
        if any("\0" in text for text in texts):
            raise self._untranslatable("the text holds a NUL, which databases keep differently")
        dialect = self.walk.dialect
        if isinstance(node, Size):
            return self.walk.both(dialect.whole(self.column), dialect.size(self.column, node.op, node.value))
        if node.op == "in":
            return dialect.one_of(self.column, node.value)
        if node.op in ("==", "!="):
            return self._compare(node.op, node.value)
        if node.op in ("<", "<=", ">", ">="):
            raise self._untranslatable("databases order texts by a collation, CEL by code point; compare with ==")
        found = dialect.text(self.column, node.op, node.value)
        return self.walk.both(dialect.whole(self.column), found) if node.op == "ends_with" else found

    def test_written(self, node: Any) -> F:
        """Compare the text of an id that is kept as a number or a UUID."""
        if isinstance(node, Size) or node.op not in ("==", "!=", "in"):
            raise self._untranslatable(f"only == and in can be asked of a text that is kept in {self.column.shown}")
        read = _uuid if self.column.kind == "uuid" else _integer
        raws = [raw for text in (node.value if node.op == "in" else [node.value]) if (raw := read(text)) is not None]
        if node.op != "!=":
            return self.walk.dialect.one_of(self.column, raws) if raws else self._never()
        return self._compare("!=", raws[0]) if raws else self.walk.dialect.constant(True)

    # Numbers and moments

    def test_number(self, node: Any) -> F:
        if node.op == "in":
            return self.walk.dialect.one_of(self.column, node.value)
        return self._compare(node.op, node.value)

    def test_double(self, node: Any) -> F:
        found = self.test_number(node)  # PostgreSQL's NaN is above everything
        return self.walk.both(found, self._compare("<=", math.inf)) if node.op in (">", ">=") else found

    def test_moment(self, node: Any) -> F:
        moment: datetime = node.value
        return self._compare(node.op, moment.replace(tzinfo=None) if self.column.naive else moment)

    def test_amount(self, node: Any) -> F:
        values = node.value if node.op == "in" else (node.value,)
        if any(abs(value) >= _MAX_DIGITS for value in values):
            raise self._untranslatable("SQLite keeps no more than 15 digits of an amount")
        exact = self.column.digits is not None and self.column.digits <= self._scale
        compared = [self._amount(node.op, value) if exact else self._rounded(node.op, value) for value in values]
        return compared[0] if node.op != "in" else self.walk.dialect.join(compared, every=False)

    @property
    def _scale(self) -> int:
        return self.walk.model.attributes[self.node.field].scale

    def _amount(self, op: str, minor: int) -> F:
        """Compare with a column of no more digits than the attribute has."""
        digits = self.column.digits or 0
        units, rest = divmod(minor, 10 ** (self._scale - digits))
        if rest and op in ("==", "in", "!="):
            return self.walk.dialect.constant(op == "!=")
        if rest:
            op = "<=" if op in ("<", "<=") else ">"
        return self._compare("==" if op == "in" else op, Decimal(units).scaleb(-digits, _EXACT))

    def _rounded(self, op: str, minor: int) -> F:
        """Compare with a column of more digits, of which ``Attribute.capture`` rounds half to even."""
        dialect = self.walk.dialect
        if op in ("==", "in", "!="):
            equal = self.walk.both(self._at_least(minor), dialect.negate(self._at_least(minor + 1)))
            return dialect.negate(equal) if op == "!=" else equal
        bound = self._at_least(minor + (op in (">", "<=")))
        return bound if op in (">", ">=") else dialect.negate(bound)

    def _at_least(self, minor: int) -> F:
        return self._compare(">" if minor % 2 else ">=", Decimal(10 * minor - 5).scaleb(-self._scale - 1, _EXACT))

    def _fitting(self) -> list[F]:
        """Leave out what is no int64 of minor units, and NaN, which PostgreSQL has above everything."""
        return [self._at_least(-INT64), self.walk.dialect.negate(self._at_least(INT64))]


def _integer(text: str) -> int | None:
    found = int(text) if _INTEGER.match(text) else None
    return found if found is not None and str(found) == text and -INT64 <= found < INT64 else None


def _uuid(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


_WRITERS: Mapping[tuple[str, str], Callable[[Any, Any], Any]] = {
    ("string", "string"): _Leaf.test_text,
    ("string", "int"): _Leaf.test_written,
    ("string", "uuid"): _Leaf.test_written,
    ("int", "int"): _Leaf.test_number,
    ("double", "double"): _Leaf.test_double,
    ("decimal", "decimal"): _Leaf.test_amount,
    ("timestamp", "timestamp"): _Leaf.test_moment,
}
