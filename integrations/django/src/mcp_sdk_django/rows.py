"""Reading models without querying: a deferred field or an unfetched relation is not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model

__all__ = ["LoadedRows"]


class LoadedRows:
    """Reads the members of Django models from what is loaded; ``otherwise`` reads all other objects."""

    def __init__(self, otherwise: Callable[[Any, str], Any]) -> None:
        self._otherwise = otherwise

    def __call__(self, subject: Any, name: str) -> Any:
        """Give a member of an object by name, or by a dotted path; None where it is not loaded."""
        value = subject
        for part in name.split("."):
            value = None if value is None or not _is_loaded(value, part) else self._otherwise(value, part)
        return value


def _is_loaded(subject: Any, name: str) -> bool:
    if not isinstance(subject, Model):
        return True
    if name in subject.get_deferred_fields():
        return False
    try:
        field = subject._meta.get_field(name)  # noqa: SLF001 - documented as public
    except FieldDoesNotExist:
        return True
    return not field.is_relation or bool(field.is_cached(subject))
