"""CEL's operators on values of unknown type: what generated code calls where declared types do not say enough.

A CEL value is, in Python: bool; int (int64); ``Uint``; float; str; bytes; None; list or tuple; a mapping, whose bool
keys are ``BOOL_KEYS``, for True would else meet 1; ``Timestamp`` and ``Duration``; ``CelType``. An error is an
exception. Source: the CEL specification (github.com/google/cel-spec, doc/langdef.md).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from mcp_sdk.exceptions import MissingExtra
from mcp_sdk.policy.cel.moments import CelError, Duration, Timestamp

__all__ = ["BoolKey", "CelType", "Uint", "key_of", "plain_key", "type_of"]

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


class Uint(int):
    """An unsigned 64-bit integer."""

    __slots__ = ()


class CelType(NamedTuple):
    """A type as a value."""

    name: str


class BoolKey(NamedTuple):
    """A bool as the key of a map."""

    value: bool


BOOL_KEYS = {True: BoolKey(True), False: BoolKey(False)}

_TYPES: tuple[tuple[Any, str], ...] = (
    (bool, "bool"),
    (Uint, "uint"),
    (int, "int"),
    (float, "double"),
    (str, "string"),
    (bytes, "bytes"),
    (type(None), "null_type"),
    (CelType, "type"),
    (list, "list"),
    (tuple, "list"),
    (Mapping, "map"),
    (Timestamp, "google.protobuf.Timestamp"),
    (Duration, "google.protobuf.Duration"),
)
_NUMBERS = frozenset({"int", "uint", "double"})
_ORDERED = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "google.protobuf.Timestamp", "google.protobuf.Duration"}
)


def type_of(value: Any) -> str:
    """Give the name of a value's type."""
    for kind, name in _TYPES:
        if isinstance(value, kind):
            return name
    raise CelError(f"no CEL value: {type(value).__name__}")


def key_of(value: Any) -> Any:
    """Give a value as the key of a mapping."""
    if isinstance(value, bool):
        return BOOL_KEYS[value]
    if isinstance(value, (int, str)):
        return value
    raise CelError("unsupported key type")


def plain_key(key: Any) -> Any:
    """Give the value that a mapping's key stands for."""
    return key.value if type(key) is BoolKey else key


def no_overload(function: str, *arguments: Any) -> CelError:
    """The error of a function that does not take values of these types."""
    kinds = ", ".join(type_of(argument) for argument in arguments)
    return CelError(f"no such overload: {function}({kinds})")


def from_fact(value: Any) -> Any:
    """Give a fact of a context as a CEL value."""
    return Timestamp.of(value) if isinstance(value, datetime) else value


def check_int(value: int) -> int:
    """Give the value when it fits int64."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise CelError("integer overflow")


def check_uint(value: int) -> Uint:
    """Give the value when it fits uint64."""
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise CelError("unsigned integer overflow")


def want_bool(value: Any) -> bool:
    """Give the value when it is a bool."""
    if value is True or value is False:
        return bool(value)
    raise no_overload("bool", value)


def equal(left: Any, right: Any) -> bool:
    """``==`` over any types: numbers by value, everything else only within its type."""
    kind, other = type_of(left), type_of(right)
    if kind in _NUMBERS and other in _NUMBERS:
        return bool(left == right) if (kind == "double") == (other == "double") else float(left) == float(right)
    if kind != other:
        return False
    if kind == "list":
        return len(left) == len(right) and all(equal(a, b) for a, b in zip(left, right, strict=True))
    if kind == "map":
        return len(left) == len(right) and all(key in right and equal(left[key], right[key]) for key in left)
    return bool(left == right)


def unequal(left: Any, right: Any) -> bool:
    """``!=``."""
    return not equal(left, right)


def _ordered(function: str, left: Any, right: Any) -> tuple[Any, Any]:
    """Give two values that Python orders as CEL does; an integer meets a double as a double."""
    kind, other = type_of(left), type_of(right)
    if kind in _NUMBERS and other in _NUMBERS:
        return (left, right) if (kind == "double") == (other == "double") else (float(left), float(right))
    if kind not in _ORDERED or kind != other:
        raise no_overload(function, left, right)
    return left, right


def less(left: Any, right: Any) -> bool:
    """``<``; numbers of different types compare by value, NaN with nothing."""
    left, right = _ordered("_<_", left, right)
    return bool(left < right)


def less_equal(left: Any, right: Any) -> bool:
    """``<=``."""
    left, right = _ordered("_<=_", left, right)
    return bool(left <= right)


def greater(left: Any, right: Any) -> bool:
    """``>``."""
    left, right = _ordered("_>_", left, right)
    return bool(left > right)


def greater_equal(left: Any, right: Any) -> bool:
    """``>=``."""
    left, right = _ordered("_>=_", left, right)
    return bool(left >= right)


def contained(item: Any, container: Any) -> bool:
    """``in`` a list, or among the keys of a map."""
    if isinstance(container, (list, tuple)) and not isinstance(container, (CelType, BoolKey)):
        return any(equal(item, other) for other in container)
    if isinstance(container, Mapping):
        if isinstance(item, float):
            return item.is_integer() and int(item) in container
        return isinstance(item, (int, str)) and key_of(item) in container
    raise no_overload("in", item, container)


def add(left: Any, right: Any) -> Any:
    """``+``: numbers, strings, bytes, lists, durations, and a timestamp with a duration."""
    kind, other = type_of(left), type_of(right)
    if kind == other:
        if kind == "int":
            return check_int(left + right)
        if kind == "uint":
            return check_uint(int(left) + int(right))
        if kind in ("double", "string", "bytes"):
            return left + right
        if kind == "list":
            return [*left, *right]
        if kind == "google.protobuf.Duration":
            return Duration(left.nanoseconds + right.nanoseconds)
    if {kind, other} == {"google.protobuf.Timestamp", "google.protobuf.Duration"}:
        return Timestamp(left.nanoseconds + right.nanoseconds)
    raise no_overload("_+_", left, right)


def subtract(left: Any, right: Any) -> Any:
    """``-``: numbers, durations, a timestamp less a duration or another timestamp."""
    kind, other = type_of(left), type_of(right)
    if kind == other:
        if kind == "int":
            return check_int(left - right)
        if kind == "uint":
            return check_uint(int(left) - int(right))
        if kind == "double":
            return left - right
        if kind in ("google.protobuf.Duration", "google.protobuf.Timestamp"):
            return _span(left.nanoseconds - right.nanoseconds)
    if (kind, other) == ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        return Timestamp(left.nanoseconds - right.nanoseconds)
    raise no_overload("_-_", left, right)


def _span(nanoseconds: int) -> Duration:
    check_int(nanoseconds)
    return Duration(nanoseconds)


def multiply(left: Any, right: Any) -> Any:
    """``*``."""
    kind = type_of(left)
    if kind == type_of(right) and kind in _NUMBERS:
        if kind == "double":
            return left * right
        return check_int(left * right) if kind == "int" else check_uint(int(left) * int(right))
    raise no_overload("_*_", left, right)


def divide(left: Any, right: Any) -> Any:
    """``/``: integers are cut towards zero, doubles follow IEEE 754."""
    kind = type_of(left)
    if kind != type_of(right) or kind not in _NUMBERS:
        raise no_overload("_/_", left, right)
    if kind == "double":
        return divide_double(left, right)
    return divide_int(left, right) if kind == "int" else check_uint(divide_int(int(left), int(right)))


def divide_int(left: int, right: int) -> int:
    """Divide int64 values, cut towards zero."""
    if right == 0:
        raise CelError("divide by zero")
    quotient = abs(left) // abs(right)
    return (
        check_uint(quotient) if type(left) is Uint else check_int(quotient if (left < 0) == (right < 0) else -quotient)
    )


def divide_double(left: float, right: float) -> float:
    """Divide doubles; by zero gives an infinity or NaN."""
    if right:
        return left / right
    if left == 0 or math.isnan(left) or math.isnan(right):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def modulo(left: Any, right: Any) -> Any:
    """``%``: the remainder has the sign of the dividend."""
    kind = type_of(left)
    if kind != type_of(right) or kind not in ("int", "uint"):
        raise no_overload("_%_", left, right)
    if right == 0:
        raise CelError("modulus by zero")
    if left == INT_MIN and right == -1:
        raise CelError("integer overflow")
    rest = abs(left) % abs(right)
    return Uint(rest) if kind == "uint" else (rest if left >= 0 else -rest)


def negate(value: Any) -> Any:
    """``-x``."""
    kind = type_of(value)
    if kind == "int":
        return check_int(-value)
    if kind == "double":
        return -value
    raise no_overload("-_", value)


def logical_not(value: Any) -> bool:
    """``!x``."""
    return not want_bool(value)


def index(container: Any, key: Any) -> Any:
    """``x[key]`` of a list or a map."""
    if isinstance(container, Mapping):
        return _lookup(container, key)
    if not isinstance(container, (list, tuple)) or isinstance(container, CelType):
        raise no_overload("_[_]", container, key)
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    if isinstance(key, bool) or not isinstance(key, int):
        raise no_overload("_[_]", container, key)
    if not 0 <= key < len(container):
        raise CelError("index out of bounds")
    return container[key]


def _lookup(container: Mapping[Any, Any], key: Any) -> Any:
    if isinstance(key, float):
        if not key.is_integer():
            raise CelError("no such key")
        key = int(key)
    found = key_of(key)
    if found not in container:
        raise CelError("no such key")
    return from_fact(container[found])


def select(container: Any, field: str) -> Any:
    """``x.field`` of a map."""
    if not isinstance(container, Mapping):
        raise CelError(f"type {type_of(container)} does not support field selection")
    if field not in container:
        raise CelError(f"no such key: {field!r}")
    return from_fact(container[field])


def present(container: Any, field: str) -> bool:
    """``has(x.field)``."""
    if not isinstance(container, Mapping):
        raise CelError(f"type {type_of(container)} does not support field selection")
    return field in container


def build_map(*pairs: Any) -> dict[Any, Any]:
    """``{key: value, …}``; a key written twice is an error."""
    result: dict[Any, Any] = {}
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        stored = key_of(key)
        if stored in result:
            raise CelError("duplicate key in map")
        result[stored] = value
    return result


@lru_cache(maxsize=1024)
def pattern(text: str) -> Any:
    """Compile a regular expression with RE2 (linear time); raises ``MissingExtra`` where it is not installed."""
    try:
        re2 = importlib.import_module("re2")
    except ImportError:
        raise MissingExtra("google-re2", extra="policy", purpose="matches() in a policy") from None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        raise CelError(f"invalid regular expression: {error}") from None


def matches(text: Any, expression: Any) -> bool:
    """``text.matches(expression)``: found anywhere, by RE2."""
    if not isinstance(text, str) or not isinstance(expression, str):
        raise no_overload("matches", text, expression)
    return pattern(expression).search(text) is not None
