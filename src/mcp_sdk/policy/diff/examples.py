"""Operations that stand for what patterns tell apart: one of each pattern, and one that none of them holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from mcp_sdk.operations import OperationPattern, OperationSet

__all__ = ["example_of", "operations_of"]

METHODS = ("GET", "POST")


def operations_of(patterns: Iterable[str], met: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], bool]:
    """Give operations worth asking, and whether they cover all that can be told apart.

    ``patterns`` are those of every policy of a target; ``met`` are the constants that conditions compare
    ``request.method``, ``request.path`` and ``request.operation`` with.
    """
    parsed = [OperationPattern.parse(pattern) for pattern in dict.fromkeys(patterns)]
    examples = [example_of(pattern) for pattern in parsed]
    combined = _combined(examples, met) if any(met.values()) else []
    outside = _outside(parsed)
    first = examples or [""]
    found = tuple(dict.fromkeys([*first, *combined, *outside, *met.get("request.operation", ())]))
    apart = all(_disjoint(one, other) for one, other in combinations(parsed, 2))
    plain = all(_is_literal(pattern) for pattern in parsed)
    return found, plain if any(met.values()) else apart


def example_of(pattern: OperationPattern) -> str:
    """Give an operation that a pattern holds, its parameters filled with their names."""
    if not pattern.method:
        return ".".join([*pattern.segments, *(["any"] if pattern.text.endswith("*") else [])])
    method = "GET" if pattern.method == "*" else pattern.method
    names = pattern.params or ("",) * len(pattern.segments)
    parts = [name or segment for name, segment in zip(names, pattern.segments, strict=True)]
    return f"{method} /{'/'.join([*parts, *(['any'] if pattern.rest else [])])}"


def _combined(examples: list[str], met: Mapping[str, Sequence[str]]) -> list[str]:
    """Give every method with every path."""
    split = [example.partition(" ") for example in [*examples, *met.get("request.operation", ())]]
    methods = [*met.get("request.method", ()), *(method for method, space, _ in split if space), *METHODS, "PATCH"]
    paths = [*met.get("request.path", ()), *(path for _, space, path in split if space), "/", "/other"]
    return [f"{method} {path}" for method in dict.fromkeys(methods) for path in dict.fromkeys(paths)]


def _outside(patterns: list[OperationPattern]) -> list[str]:
    if not patterns:
        return []
    governed = OperationSet(patterns)
    tried = ("GET /other", "POST /other", "PATCH /other/operation", "other.operation", "")
    return [one for one in tried if one not in governed][:1]


def _is_literal(pattern: OperationPattern) -> bool:
    return not (pattern.params or pattern.rest or pattern.method == "*" or pattern.text.endswith("*"))


def _disjoint(one: OperationPattern, other: OperationPattern) -> bool:
    if one.method != other.method and "*" not in (one.method, other.method):
        return True
    if len(one.segments) != len(other.segments) and not _open(one) and not _open(other):
        return True
    names = zip(one.params or ("",) * 99, other.params or ("",) * 99, strict=False)
    pairs = zip(one.segments, other.segments, names, strict=False)
    return any(mine != theirs and not any(free) for mine, theirs, free in pairs)


def _open(pattern: OperationPattern) -> bool:
    return pattern.rest or (not pattern.method and pattern.text.endswith("*"))
