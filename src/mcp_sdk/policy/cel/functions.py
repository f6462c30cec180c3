"""CEL's standard functions and conversions, and the table that names every function's implementation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mcp_sdk.policy.cel import values
from mcp_sdk.policy.cel.moments import SECOND, CelError, Duration, Timestamp, parse_duration, parse_timestamp, zone
from mcp_sdk.policy.cel.values import CelType, Uint, no_overload, type_of

__all__ = ["FUNCTIONS", "TYPE_NAMES"]

TYPE_NAMES = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"}
    | {"google.protobuf.Timestamp", "google.protobuf.Duration"}
)
_INTEGER = re.compile(r"[-+]?[0-9]{1,20}\Z")
_DOUBLE = re.compile(r"[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|inf(inity)?|nan)\Z", re.IGNORECASE)
_BOOLS = {
    **dict.fromkeys(("1", "t", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "false", "FALSE", "False"), False),
}


def size(value: Any) -> int:
    """Count code points, bytes, elements or entries."""
    if isinstance(value, (str, bytes, list, tuple, Mapping)) and not isinstance(value, CelType):
        return len(value)
    raise no_overload("size", value)


def _strings(function: str, *arguments: Any) -> None:
    if not all(isinstance(argument, str) for argument in arguments):
        raise no_overload(function, *arguments)


def contains(text: Any, part: Any) -> bool:
    """``text.contains(part)``."""
    _strings("contains", text, part)
    return part in text


def starts_with(text: Any, prefix: Any) -> bool:
    """``text.startsWith(prefix)``."""
    _strings("startsWith", text, prefix)
    return bool(text.startswith(prefix))


def ends_with(text: Any, suffix: Any) -> bool:
    """``text.endsWith(suffix)``."""
    _strings("endsWith", text, suffix)
    return bool(text.endswith(suffix))


def to_int(value: Any) -> int:
    """``int(x)``."""
    kind = type_of(value)
    if kind in ("int", "uint"):
        return values.check_int(int(value))
    if kind == "double":
        if not (math.isfinite(value) and -(2**63) < value < 2**63):
            raise CelError("integer overflow")
        return int(value)
    if kind == "string" and _INTEGER.match(value):
        return values.check_int(int(value))
    if kind == "google.protobuf.Timestamp":
        return int(value.nanoseconds // SECOND)
    raise no_overload("int", value)


def to_uint(value: Any) -> Uint:
    """``uint(x)``."""
    kind = type_of(value)
    if kind in ("int", "uint"):
        return values.check_uint(int(value))
    if kind == "double" and math.isfinite(value) and -1 < value < 2**64:
        return values.check_uint(int(value)) if value >= 0 else _unfit("uint")
    if kind == "string" and _INTEGER.match(value) and not value.startswith("-"):
        return values.check_uint(int(value))
    raise CelError("unsigned integer overflow") if kind == "double" else no_overload("uint", value)


def _unfit(kind: str) -> Any:
    raise CelError(f"out of the range of {kind}")


def to_double(value: Any) -> float:
    """``double(x)``."""
    kind = type_of(value)
    if kind in ("int", "uint", "double"):
        return float(value)
    if kind == "string" and _DOUBLE.match(value):
        return float(value)
    raise no_overload("double", value)


def to_string(value: Any) -> str:
    """``string(x)``."""
    kind = type_of(value)
    if kind == "string":
        return str(value)
    if kind == "bool":
        return "true" if value else "false"
    if kind in ("int", "uint"):
        return str(int(value))
    if kind == "double":
        return _double_text(value)
    if kind == "bytes":
        try:
            return str(value.decode())
        except UnicodeDecodeError:
            raise CelError("invalid UTF-8") from None
    if kind in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        return str(value)
    raise no_overload("string", value)


def _double_text(value: float) -> str:
    """Write the shortest digits that read back equal, with an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    sign, numerals, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, power = "".join(map(str, numerals)), len(numerals) + int(exponent) - 1
    minus = "-" if sign else ""
    if value == 0 or -4 <= power < 6:
        return f"{minus}{Decimal(repr(abs(value))).normalize():f}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{minus}{digits[0]}{fraction}e{power:+03d}"


def to_bytes(value: Any) -> bytes:
    """``bytes(x)``."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise no_overload("bytes", value)


def to_bool(value: Any) -> bool:
    """``bool(x)``."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in _BOOLS:
            return _BOOLS[value]
        raise CelError("Type conversion error: not a bool")
    raise no_overload("bool", value)


def to_timestamp(value: Any) -> Timestamp:
    """``timestamp(x)`` of RFC 3339 text or seconds since the epoch."""
    kind = type_of(value)
    if kind == "google.protobuf.Timestamp":
        return value  # type: ignore[no-any-return]
    if kind == "string":
        return parse_timestamp(value)
    if kind == "int":
        return Timestamp(value * SECOND)
    raise no_overload("timestamp", value)


def to_duration(value: Any) -> Duration:
    """``duration(x)`` of text like ``1h30m``."""
    kind = type_of(value)
    if kind == "google.protobuf.Duration":
        return value  # type: ignore[no-any-return]
    if kind == "string":
        return parse_duration(value)
    raise no_overload("duration", value)


def to_type(value: Any) -> CelType:
    """``type(x)``."""
    return CelType(type_of(value))


def dyn(value: Any) -> Any:
    """``dyn(x)``: the value, its type forgotten."""
    return value


def _date_part(function: str, read: Callable[[datetime], int]) -> Callable[..., int]:
    def part(moment: Any, where: Any = None) -> int:
        if not isinstance(moment, Timestamp) or not isinstance(where, (str, type(None))):
            raise no_overload(function, moment)
        return read(moment.at(UTC if where is None else zone(where)))

    return part


def _time_part(function: str, read: Callable[[datetime], int], unit: int, span: int) -> Callable[..., int]:
    of_date = _date_part(function, read)

    def part(moment: Any, where: Any = None) -> int:
        if isinstance(moment, Duration) and where is None:
            whole = moment.whole(unit)
            return whole if not span else int(math.fmod(whole, span))
        return of_date(moment, where)

    return part


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "_+_": values.add,
    "_-_": values.subtract,
    "_*_": values.multiply,
    "_/_": values.divide,
    "_%_": values.modulo,
    "-_": values.negate,
    "!_": values.logical_not,
    "_==_": values.equal,
    "_!=_": values.unequal,
    "_<_": values.less,
    "_<=_": values.less_equal,
    "_>_": values.greater,
    "_>=_": values.greater_equal,
    "@in": values.contained,
    "_[_]": values.index,
    "size": size,
    "contains": contains,
    "startsWith": starts_with,
    "endsWith": ends_with,
    "matches": values.matches,
    "int": to_int,
    "uint": to_uint,
    "double": to_double,
    "string": to_string,
    "bytes": to_bytes,
    "bool": to_bool,
    "timestamp": to_timestamp,
    "duration": to_duration,
    "type": to_type,
    "dyn": dyn,
    "getFullYear": _date_part("getFullYear", lambda moment: moment.year),
    "getMonth": _date_part("getMonth", lambda moment: moment.month - 1),
    "getDayOfMonth": _date_part("getDayOfMonth", lambda moment: moment.day - 1),
    "getDate": _date_part("getDate", lambda moment: moment.day),
    "getDayOfWeek": _date_part("getDayOfWeek", lambda moment: moment.isoweekday() % 7),
    "getDayOfYear": _date_part("getDayOfYear", lambda moment: moment.timetuple().tm_yday - 1),
    "getHours": _time_part("getHours", lambda moment: moment.hour, 3600 * SECOND, 0),
    "getMinutes": _time_part("getMinutes", lambda moment: moment.minute, 60 * SECOND, 0),
    "getSeconds": _time_part("getSeconds", lambda moment: moment.second, SECOND, 0),
    "getMilliseconds": _time_part("getMilliseconds", lambda moment: moment.microsecond // 1000, 10**6, 1000),
}
