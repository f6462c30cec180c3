"""Where an error is not the end of it: ``&&``, ``||`` and the macros, which absorb errors, and what is left of them.

Source: the CEL specification, "Logical operators" and "Macros".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mcp_sdk.policy.cel.values import CelType, no_overload, plain_key, want_bool

__all__ = [
    "conditional",
    "exists",
    "exists_one",
    "filter_over",
    "holds_for_all",
    "is_true",
    "logical_and",
    "logical_or",
    "map_over",
    "not_false",
]


def logical_and(left: Callable[[], Any], right: Callable[[], Any]) -> bool:
    """``&&``: false on either side wins over an error on the other."""
    try:
        if want_bool(left()) is False:
            return False
    except Exception:
        if _absorbs(right, wanted=False):
            return False
        raise
    return want_bool(right())


def logical_or(left: Callable[[], Any], right: Callable[[], Any]) -> bool:
    """``||``: true on either side wins over an error on the other."""
    try:
        if want_bool(left()):
            return True
    except Exception:
        if _absorbs(right, wanted=True):
            return True
        raise
    return want_bool(right())


def _absorbs(side: Callable[[], Any], *, wanted: bool) -> bool:
    try:
        return side() is wanted
    except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
        return False


def conditional(condition: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """``c ? yes : no``; only the chosen side is evaluated."""
    return yes() if want_bool(condition) else no()


def is_true(expression: Callable[[], Any]) -> bool:
    """Tell whether an expression has the value true; an error has not."""
    try:
        return expression() is True
    except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
        return False


def not_false(expression: Callable[[], Any]) -> bool:
    """Tell whether an expression has another value than false; an error counts as one."""
    try:
        return expression() is not False
    except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
        return True


def over(container: Any) -> Iterable[Any]:
    """Give what a macro walks over: the elements of a list, the keys of a map."""
    if isinstance(container, Mapping):
        return [plain_key(key) for key in container]
    if isinstance(container, (list, tuple)) and not isinstance(container, CelType):
        return container
    raise no_overload("comprehension", container)


def holds_for_all(container: Any, predicate: Callable[[Any], Any]) -> bool:
    """``all``: one false wins over errors elsewhere."""
    return not _quantify(container, predicate, wanted=False)


def exists(container: Any, predicate: Callable[[Any], Any]) -> bool:
    """``exists``: one true wins over errors elsewhere."""
    return _quantify(container, predicate, wanted=True)


def _quantify(container: Any, predicate: Callable[[Any], Any], *, wanted: bool) -> bool:
    error: Exception | None = None
    for item in over(container):
        try:
            if want_bool(predicate(item)) is wanted:
                return True
        except Exception as problem:  # noqa: BLE001 - a CEL error is any exception of generated code
            error = problem
    if error is not None:
        raise error
    return False


def exists_one(container: Any, predicate: Callable[[Any], Any]) -> bool:
    """``exists_one``: exactly one; an error anywhere is an error."""
    return sum(want_bool(predicate(item)) for item in over(container)) == 1


def map_over(
    container: Any, transform: Callable[[Any], Any], predicate: Callable[[Any], Any] | None = None
) -> list[Any]:
    """``map``, with its filter when it has one."""
    return [transform(item) for item in over(container) if predicate is None or want_bool(predicate(item))]


def filter_over(container: Any, predicate: Callable[[Any], Any]) -> list[Any]:
    """``filter``."""
    return [item for item in over(container) if want_bool(predicate(item))]
