"""Residues as Django's ``Q``: ``Order.objects.filter(q_for(listable("order", "GET /orders/{order}")))``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldDoesNotExist
from django.db.models import DecimalField, F, Field, Model, Q, Value, lookups
from django.db.models.functions import Length, Replace, Substr

from mcp_sdk.filters import Column, Dialect, Leaf, translate
from mcp_sdk.residue import Residue

__all__ = ["q_for"]

_KINDS = {
    **dict.fromkeys(("CharField", "TextField", "SlugField"), "string"),
    **dict.fromkeys(("AutoField", "BigAutoField", "SmallAutoField"), "int"),
    **dict.fromkeys(("IntegerField", "BigIntegerField", "SmallIntegerField"), "int"),
    **dict.fromkeys(("PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField"), "int"),
    "FloatField": "double",
    "DecimalField": "decimal",
    "DateTimeField": "timestamp",
    "UUIDField": "uuid",
    "BooleanField": "choice",
}
_BINARY = (None, "C", "POSIX", "ucs_basic", "BINARY")
_COMPARE = {
    "==": lookups.Exact,
    "!=": lookups.Exact,
    "<": lookups.LessThan,
    "<=": lookups.LessThanOrEqual,
    ">": lookups.GreaterThan,
    ">=": lookups.GreaterThanOrEqual,
}


def q_for(
    residue: Residue,
    entity: type[Model] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    tests: Mapping[str, Callable[[Leaf], Q]] | None = None,
    superset: bool = False,
) -> Q:
    """Give the ``Q`` that lists just the rows of which a residue holds.

    ``entity`` is the Django model; the declared model's class unless given. ``columns`` gives the field (dots or ``__``
    lead over relations) of facts that are read otherwise. ``tests`` and ``superset`` are those of
    ``mcp_sdk.filters.translate``. Raises ``Untranslatable`` for what the database would not take as policies do.
    """
    dialect = _Queries(residue.model.python_type if entity is None else entity, columns or {})
    return translate(residue, dialect, tests=tests, superset=superset)


class _Queries(Dialect[Q]):
    def __init__(self, entity: Any, columns: Mapping[str, str]) -> None:
        self.entity, self.columns = entity, columns

    def column(self, field: str, source: str) -> Column:
        path = self.columns.get(field, source).replace(".", "__")
        found = _field(self.entity, path)
        if found is None:
            raise LookupError(f"{path} is no field of {self.entity!r}; give one with columns={{{field!r}: ...}}")
        kind, collation = _KINDS.get(found.get_internal_type(), ""), getattr(found, "db_collation", None)
        if kind == "string" and collation not in _BINARY and not str(collation).endswith("_bin"):
            raise LookupError(f"{path} has the collation {collation}, which takes other texts for equal")
        kind = "" if hasattr(found, "from_db_value") else kind
        digits = getattr(found, "decimal_places", None)
        return Column(kind, path, f"a {type(found).__name__}", (True, False), digits, not settings.USE_TZ)

    def constant(self, value: bool) -> Q:  # noqa: FBT001
        return ~Q(pk__in=[]) if value else Q(pk__in=[])

    def join(self, parts: Sequence[Q], *, every: bool) -> Q:
        return reduce(Q.__and__ if every else Q.__or__, parts)

    def negate(self, part: Q) -> Q:
        return ~part

    def present(self, column: Column) -> Q:
        return Q((f"{column.clause}__isnull", False))

    def compare(self, column: Column, op: str, value: Any) -> Q:
        # A plain Decimal would be rounded to the column's digits.
        own = Value(value, DecimalField(max_digits=40, decimal_places=10)) if isinstance(value, Decimal) else value
        test = Q((f"{column.clause}__{_COMPARE[op].lookup_name}", own))
        return ~test if op == "!=" else test

    def one_of(self, column: Column, values: Sequence[Any]) -> Q:
        return Q((f"{column.clause}__in", list(values)))

    def text(self, column: Column, op: str, part: str) -> Q:
        text = F(column.clause)
        if op == "contains":
            return ~Q(lookups.Exact(Replace(text, Value(part)), text))
        if op == "starts_with":
            return Q(lookups.Exact(Substr(text, 1, len(part)), Value(part)))
        return Q(lookups.Exact(Substr(text, Length(text) - (len(part) - 1), len(part)), Value(part)))

    def size(self, column: Column, op: str, count: int) -> Q:
        test = Q(_COMPARE[op](Length(column.clause), count))
        return ~test if op == "!=" else test

    def whole(self, column: Column) -> Q:
        text = F(column.clause)
        return Q(lookups.Exact(Substr(text, 1, Length(text)), text))


def _field(entity: Any, path: str) -> Field[Any, Any] | None:
    """Give the field at the end of a path that leads to one row at most."""
    found = None
    for name in path.split("__"):
        try:
            found = entity._meta.get_field(name)  # noqa: SLF001 - documented as public
        except (FieldDoesNotExist, AttributeError):
            return None
        if found.one_to_many or found.many_to_many:
            return None
        entity = found.related_model
    if found is not None and found.is_relation:
        return found.target_field if path.endswith(found.attname) else None
    return found
