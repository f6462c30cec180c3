"""Patterns over operations: ``POST /orders/{order}``, ``* /admin/**``, or the dotted name of a method.

A path is compared as it stands on the wire, segment by segment and case-sensitively (RFC 3986 §6.2.2.1); each segment
is percent-decoded after splitting, so ``%2F`` is part of a value and never a separator. Methods are compared in upper
case. One trailing slash makes no difference. A query string is not part of an operation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from mcp_sdk.exceptions import ConfigurationError

__all__ = ["OperationPattern", "OperationSet", "OperationTemplates", "operation_params"]

_METHOD = re.compile(r"[A-Za-z][A-Za-z-]{0,31}\Z|\*\Z")
_PARAM = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}\Z")
_DOTTED = re.compile(r"[\w<>]+(\.[\w<>]+)*(\.\*\*?)?\Z")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


@dataclass(frozen=True, slots=True)
class OperationPattern:
    """One pattern, parsed. ``segments`` are decoded literals or ``{name}``; ``rest`` stands for a trailing ``/**``.

    ``method`` is ``*`` for any, and empty when the pattern is the dotted name of a method (``shop.orders.pay``,
    ``shop.orders.*`` for one more part, ``shop.**`` for any number).
    """

    text: str
    method: str
    segments: tuple[str, ...]
    params: tuple[str, ...]
    rest: bool = False

    @classmethod
    def parse(cls, text: str) -> OperationPattern:
        """Read a pattern; raises ``ConfigurationError`` with what is wrong and what a pattern looks like."""
        method, space, path = text.strip().partition(" ")
        if not space:
            return _parse_dotted(cls, text.strip())
        path = path.strip()
        if not _METHOD.match(method) or not path.startswith("/"):
            raise ConfigurationError(
                f"{text!r} is no operation. Write METHOD /path/{{param}}, * for any method, or a dotted name."
            )
        parts = _split(path)
        rest = bool(parts) and parts[-1] == "**"
        return _build(cls, text, method.upper(), parts[:-1] if rest else parts, rest=rest)

    def match(self, operation: str) -> dict[str, str] | None:
        """Give the decoded parameters when ``METHOD /path`` (or a dotted name) fits; else None."""
        if operation == self.text and not self.params:
            return {}
        method, _, path = operation.partition(" ")
        if not self.method:
            return None if " " in operation else self._match_dotted(operation)
        if not path.startswith("/") or (self.method != "*" and self.method != method.upper()):
            return None
        return self._match_path(_split(_without_query(path)))

    def _match_path(self, parts: list[str]) -> dict[str, str] | None:
        count = len(self.segments)
        if len(parts) < count or (len(parts) > count and not self.rest):
            return None
        found: dict[str, str] = {}
        for segment, name, part in zip(self.segments, self.params or ("",) * count, parts, strict=False):
            value = unquote(part)
            if name and value:
                found[name] = value
            elif name or segment != value:
                return None
        return found

    def _match_dotted(self, name: str) -> dict[str, str] | None:
        parts = name.split(".")
        count = len(self.segments)
        if tuple(parts[:count]) != self.segments:
            return None
        if self.rest:
            return {} if len(parts) > count else None
        wanted = count + (self.text.endswith(".*"))
        return {} if len(parts) == wanted else None

    def covers(self, other: OperationPattern) -> bool:
        """Tell whether every operation of another pattern is one of this."""
        if not self.method or not other.method:
            return not self.method and not other.method and self._covers_dotted(other)
        if self.method not in ("*", other.method) or len(self.segments) > len(other.segments):
            return False
        if not self.rest and (other.rest or len(self.segments) < len(other.segments)):
            return False
        return all(_has(*pair) for pair in zip(self._parts, other._parts, strict=False))

    def _covers_dotted(self, other: OperationPattern) -> bool:
        count, more = len(self.segments), len(other.segments) - len(self.segments)
        if other.segments[:count] != self.segments:
            return False
        one, many = other.text.endswith(".*"), other.rest
        if self.rest:
            return more > 0 or one or many
        if self.text.endswith(".*"):
            return not many and more + one == 1
        return not many and more + one == 0

    def meets(self, other: OperationPattern) -> bool:
        """Tell whether some operation is of both patterns."""
        if not self.method or not other.method:
            return self.covers(other) or other.covers(self)
        if self.method != other.method and "*" not in (self.method, other.method):
            return False
        short, long = sorted((self, other), key=lambda one: len(one.segments))
        if not short.rest and len(short.segments) < len(long.segments):
            return False
        return all(_has(*pair) or _has(*pair[::-1]) for pair in zip(self._parts, other._parts, strict=False))

    @property
    def _parts(self) -> list[str | None]:
        """The segments; None for a parameter."""
        names = self.params or ("",) * len(self.segments)
        return [None if name else segment for segment, name in zip(self.segments, names, strict=True)]


def _has(part: str | None, other: str | None) -> bool:
    """Tell whether a segment of a pattern stands for all that another one does; a parameter is never empty."""
    return other != "" if part is None else part == other


class OperationSet:
    """Several patterns, asked at once; without patterns every operation is in it."""

    __slots__ = ("_exact", "_plain", "patterns")

    def __init__(self, patterns: Iterable[OperationPattern]) -> None:
        self.patterns: tuple[OperationPattern, ...] = tuple(patterns)
        self._exact = frozenset(
            one.text for one in self.patterns if not one.params and not one.rest and one.method != "*"
        )
        self._plain = re.compile(
            "|".join(map(_regex, filter(lambda one: one.method, self.patterns))) or r"(?!)", re.DOTALL
        )

    def covers(self, other: OperationSet) -> bool:
        """Tell whether every operation of another set is certainly in this one."""
        if not self.patterns or not other.patterns:
            return not self.patterns
        return all(any(one.covers(pattern) for one in self.patterns) for pattern in other.patterns)

    def meets(self, other: OperationSet) -> bool:
        """Tell whether some operation is in both sets."""
        if not self.patterns or not other.patterns:
            return True
        return any(one.meets(pattern) for one in self.patterns for pattern in other.patterns)

    def __contains__(self, operation: str) -> bool:
        if not self.patterns or operation in self._exact:
            return True
        if "%" not in operation and " " in operation:
            return self._plain.fullmatch(operation) is not None
        return any(one.match(operation) is not None for one in self.patterns)


class OperationTemplates:
    """Patterns by which an operation is shown without a word that its caller wrote into it."""

    __slots__ = ("_by_length", "_open")

    def __init__(self, patterns: Iterable[OperationPattern]) -> None:
        self._by_length: dict[int, list[OperationPattern]] = {}
        self._open: list[OperationPattern] = []
        for pattern in sorted(patterns, key=_vagueness):
            closed = pattern.method and not pattern.rest
            (self._by_length.setdefault(len(pattern.segments), []) if closed else self._open).append(pattern)

    def shown(self, operation: str) -> str:
        """Give the most telling pattern that fits, under the operation's own method; ``GET /**`` where none does."""
        method, space, path = operation.partition(" ")
        alike = self._by_length.get(len(_split(_without_query(path))), ())
        found = next((one for one in (*alike, *self._open) if one.match(operation) is not None), None)
        if not space:
            return found.text if found is not None else "**"
        told = found.text.partition(" ")[2].strip() if found is not None else "/**"
        return f"{method if method in _METHODS else '*'} {told}"


def _vagueness(pattern: OperationPattern) -> tuple[bool, int, int, str]:
    return pattern.rest, len(list(filter(None, pattern.params))), -len(pattern.segments), pattern.text


def _without_query(path: str) -> str:
    return path.partition("?")[0].partition("#")[0]


def _regex(pattern: OperationPattern) -> str:
    """Write a pattern as a regular expression over operations that hold no ``%``; it cannot backtrack."""
    names = pattern.params or ("",) * len(pattern.segments)
    parts = [
        "/[^/?#]+" if name else f"/{re.escape(segment)}" for segment, name in zip(pattern.segments, names, strict=True)
    ]
    method = "[^ ]*" if pattern.method == "*" else f"(?i:{re.escape(pattern.method)})"
    rest = "/[^?#]*" if pattern.rest else "/"
    rest = f"(?:{rest})?" if parts else rest
    return f"{method} {''.join(parts)}{rest}(?:[?#].*)?"


def operation_params(pattern: str, operation: str) -> dict[str, str] | None:
    """Match one operation against one pattern; see ``OperationPattern``."""
    return OperationPattern.parse(pattern).match(operation)


def _split(path: str) -> list[str]:
    parts = path.split("/")[1:]
    if parts and parts[-1] == "":
        parts.pop()
    return parts


def _parse_dotted(cls: type[OperationPattern], text: str) -> OperationPattern:
    if not _DOTTED.match(text):
        raise ConfigurationError(
            f"{text!r} is no operation. Write METHOD /path/{{param}}, * for any method, or a dotted name."
        )
    parts = [part for part in text.split(".") if part not in ("*", "**")]
    return cls(text, "", tuple(parts), (), text.endswith(".**"))


def _build(cls: type[OperationPattern], text: str, method: str, parts: list[str], *, rest: bool) -> OperationPattern:
    names = []
    for part in parts:
        match = _PARAM.match(part)
        if not match and any(char in part for char in "{}*"):
            raise ConfigurationError(
                f"{text!r}: segment {part!r} is neither literal nor {{name}}; ** may only stand last"
            )
        names.append(match[1] if match else "")
    given = [name for name in names if name]
    if len(set(given)) != len(given):
        raise ConfigurationError(f"{text!r} uses a parameter name twice")
    segments = tuple(part if name else unquote(part) for part, name in zip(parts, names, strict=True))
    return cls(text.strip(), method, segments, tuple(names) if given else (), rest)
