"""Residues as SQLAlchemy expressions: ``select(Order).where(filter_for(listable("order", "GET /orders/{order}")))``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Numeric, and_, false, func, literal, not_, or_, true

from mcp_sdk.filters import Column, Dialect, Leaf, translate
from mcp_sdk.residue import Residue

__all__ = ["filter_for"]

Clause = ColumnElement[bool]
_KINDS = {
    **dict.fromkeys(("string", "text", "unicode", "unicode_text", "VARCHAR", "NVARCHAR", "TEXT"), "string"),
    **dict.fromkeys(("integer", "big_integer", "small_integer", "INTEGER", "BIGINT", "SMALLINT"), "int"),
    **dict.fromkeys(("float", "double", "FLOAT", "DOUBLE", "DOUBLE_PRECISION"), "double"),
    **dict.fromkeys(("numeric", "NUMERIC", "DECIMAL"), "decimal"),
    **dict.fromkeys(("datetime", "DATETIME", "TIMESTAMP"), "timestamp"),
    **dict.fromkeys(("uuid", "UUID"), "uuid"),
    **dict.fromkeys(("boolean", "BOOLEAN", "enum", "ENUM"), "choice"),
}
_BINARY = (None, "C", "POSIX", "ucs_basic", "BINARY")
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def filter_for(
    residue: Residue,
    entity: Any = None,
    *,
    columns: Mapping[str, Any] | None = None,
    tests: Mapping[str, Callable[[Leaf], Clause]] | None = None,
    superset: bool = False,
) -> Clause:
    """Give the clause that lists just the rows of which a residue holds.

    ``entity`` is the mapped class, or an alias of it; the declared model's class unless given. ``columns`` gives the
    expressions of facts that the class does not have as columns. ``tests`` and ``superset`` are those of
    ``mcp_sdk.filters.translate``. Raises ``Untranslatable`` for what the database would not take as policies do.
    """
    dialect = _Clauses(residue.model.python_type if entity is None else entity, columns or {})
    return translate(residue, dialect, tests=tests, superset=superset)


class _Clauses(Dialect[Clause]):
    def __init__(self, entity: Any, columns: Mapping[str, Any]) -> None:
        self.entity, self.columns = entity, columns

    def column(self, field: str, source: str) -> Column:
        clause = self.columns.get(field, getattr(self.entity, source, None))
        kind: Any = getattr(clause, "type", None)
        if clause is None or kind is None or not hasattr(clause, "in_"):
            raise LookupError(f"{source} is no column of {self.entity!r}; give one with columns={{{field!r}: ...}}")
        found, shown = _KINDS.get(kind.__visit_name__, ""), f"a column of type {kind!r}"
        if found == "string" and kind.collation not in _BINARY and not str(kind.collation).endswith("_bin"):
            raise LookupError(f"{source} has the collation {kind.collation}, which takes other texts for equal")
        if (found == "double" and not _is_double(kind)) or (found in ("decimal", "uuid") and not _is_python(kind)):
            found = ""
        choices: Any = getattr(kind, "enum_class", None) or getattr(kind, "enums", (True, False))
        digits, naive = getattr(kind, "scale", None), not getattr(kind, "timezone", True)
        return Column(found, clause, shown, tuple(choices), digits, naive)

    def constant(self, value: bool) -> Clause:  # noqa: FBT001
        return true() if value else false()

    def join(self, parts: Sequence[Clause], *, every: bool) -> Clause:
        return and_(true(), *parts) if every else or_(false(), *parts)

    def negate(self, part: Clause) -> Clause:
        return not_(part)

    def present(self, column: Column) -> Clause:
        return column.clause.is_not(None)  # type: ignore[no-any-return]

    def compare(self, column: Column, op: str, value: Any) -> Clause:
        # A bound value would be cast to the column's own type, which may be too small for it.
        own: Any = {"int": BigInteger(), "decimal": Numeric()}.get(column.kind)
        return _COMPARE[op](column.clause, value if own is None else literal(value, own))  # type: ignore[no-any-return]

    def one_of(self, column: Column, values: Sequence[Any]) -> Clause:
        own = BigInteger() if column.kind == "int" else None
        return column.clause.in_([value if own is None else literal(value, own) for value in values])  # type: ignore[no-any-return]

    def text(self, column: Column, op: str, part: str) -> Clause:
        text: ColumnElement[str] = column.clause
        if op == "contains":
            return func.replace(text, part, "") != text
        if op == "starts_with":
            return func.substr(text, 1, len(part)) == part
        found: Clause = func.substr(text, func.length(text) - (len(part) - 1), len(part)) == part
        return found

    def size(self, column: Column, op: str, count: int) -> Clause:
        return _COMPARE[op](func.length(column.clause), count)  # type: ignore[no-any-return]

    def whole(self, column: Column) -> Clause:
        found: Clause = func.substr(column.clause, 1, func.length(column.clause)) == column.clause
        return found


def _is_double(kind: Any) -> bool:
    return not kind.asdecimal and (kind.precision is None or kind.precision > 24)


def _is_python(kind: Any) -> bool:
    return bool(getattr(kind, "asdecimal", True) and getattr(kind, "as_uuid", True))
