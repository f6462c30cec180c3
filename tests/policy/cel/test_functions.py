"""Standard functions and conversions at their edges, against cel-cpp."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_sdk.policy.cel.codegen import compile_shape
from mcp_sdk.policy.cel.moments import Duration, Timestamp
from mcp_sdk.policy.cel.shapes import shape_of
from mcp_sdk.policy.cel.syntax import decode
from mcp_sdk.policy.cel.values import CelType, Uint

cel = pytest.importorskip("cel_expr_python.cel")

EXPRESSIONS = [
    "dyn(9223372036854775807) < 9223372036854775808.0",
    "dyn(9223372036854775807) == 9223372036854775808.0",
    "dyn(9223372036854775806) < 9223372036854775807.0",
    "dyn(9007199254740993) > 9007199254740992.0",
    "dyn(9007199254740993) == 9007199254740992.0",
    "dyn(18446744073709551615u) < 18446744073709551616.0",
    "dyn(18446744073709551615u) == 18446744073709551616.0",
    "dyn(9223372036854775807u) == 9223372036854775808.0",
    "dyn(9007199254740993) in [9007199254740992.0]",
    "{9007199254740992:1}[dyn(9007199254740992.0)]",
    "string(1e21)",
    "string(123456789.125)",
    "string(1e-7)",
    "string(0.1)",
    "string(100000.0)",
    "string(1234567.0)",
    "string(1e15)",
    "string(1e17)",
    "string(12345678901234567890.0)",
    "string(-0.0)",
    "string(1.0/3.0)",
    "string(1e100)",
    "int('-0')",
    "int('+5')",
    "int('0x10')",
    "double('1_000')",
    "double('1e400')",
    "double('')",
    "double('.5')",
    "double('5.')",
    "uint('+5')",
    "uint(-0.5)",
    "int(9223372036854775807.0)",
    "int(-9223372036854775808.0)",
    "int(-9223372036854775809.0)",
    "uint(18446744073709551615.0)",
    "duration('1h')",
    "duration('+1h')",
    "duration('.5s')",
    "duration('1.s')",
    "duration('0')",
    "duration('')",
    "duration('1h1h')",
    "duration('1e3s')",
    "duration('1d')",
    "duration('-0.000000001s')",
    "duration('0.1ns')",
    "string(duration('-1.5s'))",
    "string(duration('1h'))",
    "string(timestamp('2020-01-01T00:00:00.120Z'))",
    "string(timestamp('2020-01-01T00:00:00.123456789Z'))",
    "timestamp('2020-01-01t00:00:00z')",
    "timestamp('2020-01-01T24:00:00Z')",
    "timestamp('2020-01-01T00:00:60Z')",
    "timestamp('2016-12-31T23:59:60Z')",
    "timestamp('2020-02-30T00:00:00Z')",
    "timestamp('2020-01-01T00:00:00+25:00')",
    "timestamp('2020-01-01 00:00:00Z')",
    "timestamp('2020-01-01T00:00:00')",
    "timestamp('2020-01-01T00:00:00.1234567891Z')",
    "bool('1')",
    "bool('T')",
    "bool('yes')",
    "bool('TrUe')",
    "-7/2",
    "-7%2",
    "7%-2",
    "'a'.matches('')",
    "duration('100ms').getMilliseconds()",
    "duration('90m').getHours()",
    "duration('3730s').getMinutes()",
    "duration('3730s').getSeconds()",
    "duration('-1.5s').getMilliseconds()",
    "duration('-1.5s').getSeconds()",
    "timestamp(0) + duration('9999h')",
    "timestamp(0) - timestamp('9999-12-31T00:00:00Z')",
    "timestamp('0001-01-01T00:00:00Z') - timestamp('9999-12-31T00:00:00Z')",
    "int(duration('1s'))",
    "size({})",
    "[1,2] + [3]",
    "'a' < 'B'",
    "true < false",
    "b'a' < b'b'",
    "-9223372036854775808/-1",
    "-9223372036854775808 % -1",
    "5u - 6u",
    "timestamp('2020-01-01T12:34:56Z').getHours('America/New_York')",
    "timestamp('2020-01-01T12:34:56Z').getHours('5:30')",
    "timestamp('2020-01-01T12:34:56Z').getHours('+5:30')",
    "timestamp('2020-01-01T12:34:56Z').getHours('')",
    "timestamp('2020-01-01T12:34:56Z').getHours('nowhere')",
    "{1:2}[dyn(1u)]",
    "{true:1}[true]",
    "[1,2,3].exists_one(x, 1/(x-1) > 0)",
    "[1,2].map(x, x > 1, x)",
    "0.0/0.0 == 0.0/0.0",
    "dyn(0.0/0.0) in [0.0/0.0]",
    "[0.0/0.0] == [0.0/0.0]",
    "null == null",
    "dyn(null) == 1",
    "string(b'\\xff')",
    "bytes('é')",
    "'é'.size()",
    "'a' in ['a'] ? 1 : 2",
    "dyn([1])[0.0]",
    "dyn([1])[0.5]",
    "dyn([1])[0u]",
    "dyn([1])[true]",
    "dyn({})['a']",
    "dyn('a')[0]",
    "dyn({1:1})[1.5]",
    "dyn(1.5) in {1:1}",
    "{'a':1,'a':2}",
    "double(18446744073709551615u)",
    "int(1e18)",
    "int(-1.9)",
    "uint(1.9)",
    "int('9223372036854775808')",
    "duration('315576000001s')",
    "duration('2562048h')",
    "duration('-9223372036.854775808s')",
    "duration('9223372037s')",
    "string(duration('9223372036s'))",
    "timestamp(253402300799)",
    "int(timestamp('1969-12-31T23:59:59.5Z'))",
]
ENVIRONMENT = cel.NewEnv(variables={})
ERROR = "error"


def ours(serialised: bytes) -> Any:
    """Evaluate by our code."""
    expression = shape_of(decode(serialised), {})
    row = {"expr": expression.shape, "params": list(expression.params)}
    try:
        return plain(compile_shape(row, "value", name="test", variables={})(*expression.constants)(None, None))
    except Exception:
        return ERROR


def plain(value: Any) -> Any:
    """Give our value as cel-cpp's ``plain_value`` does, to the microsecond."""
    if isinstance(value, Timestamp):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value.nanoseconds // 1000)
    if isinstance(value, Duration):
        return timedelta(microseconds=value.whole(1000))
    if isinstance(value, (list, tuple)) and not isinstance(value, CelType):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, Uint) else value


def theirs(expression: Any) -> Any:
    """Evaluate by cel-cpp."""
    try:
        value = expression.eval(data={})
    except RuntimeError:
        return ERROR
    if "ERROR" in str(value.type()):
        return ERROR
    found = value.plain_value()
    return bytes(found) if isinstance(found, bytearray) else found


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_edge_is_what_cel_cpp_makes_of_it(text: str) -> None:
    """The value, or that there is none, is the reference's."""
    expression = ENVIRONMENT.compile(text)
    expected, found = theirs(expression), ours(bytes(expression.serialize()))
    if isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(found)
    else:
        assert (type(found), found) == (type(expected), expected)
