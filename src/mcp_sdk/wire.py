"""The contexts of one model as named texts, and back: the part of ``mcp_sdk.baggage`` that knows declarations.

Values travel as text by their declared type: ``int`` and ``decimal`` (int64 minor units) as decimal digits, ``double``
as the shortest text that reads back equal, ``bool`` as ``true`` or ``false``, ``timestamp`` as RFC 3339 in UTC, and
``list`` as its items joined by commas: a comma or backslash inside an item stands after a backslash, and one comma more
follows an empty last item.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, cast

from mcp_sdk.context import ModelContext, NewContext, Trust
from mcp_sdk.members import escape, is_plain
from mcp_sdk.models import INT64, RESERVED_NAMES, Attribute, BusinessModel, Value, is_pseudonym

__all__ = ["PREFIX", "READERS", "VITAL", "WRITERS", "Drops", "Fact", "Plan", "Problem", "bare", "count", "fact"]

PREFIX = "mcp_sdk."


class Problem(StrEnum):
    """Why something was not read, not believed or not sent. Safe as a metric label."""

    OVERSIZE = "oversize"
    UNSAFE = "unsafe_characters"
    MALFORMED = "malformed_member"
    DUPLICATE = "duplicate_member"
    UNKNOWN_NAME = "unknown_name"
    MALFORMED_VALUE = "malformed_value"
    MALFORMED_SIGNATURE = "malformed_signature"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    EXPIRY_TOO_FAR = "expiry_too_far"
    UNSIGNED = "unsigned"
    EDGE = "edge"
    UNTRUSTED = "untrusted"
    UNDECLARED = "undeclared_attribute"
    UNENCODABLE = "unencodable_value"
    BUDGET = "over_budget"
    OTHERS = "others_over_limit"


Drops = dict[Problem, int]
"""How often what was dropped, by reason."""


def count(dropped: Drops, problem: Problem, number: int = 1) -> None:
    """Add to a count of drops."""
    dropped[problem] = dropped.get(problem, 0) + number


Rank = tuple[int, int]
"""How early a member is dropped: greater is earlier."""

VITAL: Rank = (0, 0)
_ID: Rank = (1, 0)
_STATE: Rank = (2, 0)
_REVISION: Rank = (3, 0)
_ATTRIBUTE = 4

_new: Any = object.__new__
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OF_A_PEER = Attribute("of_a_peer")
NO_VALUES: Mapping[str, Value] = MappingProxyType({})


Fact = tuple[Rank, str, str, str]
"""One member to send: its rank, what the signature covers (``name=text``), its raw form, and its model."""


def fact(rank: Rank, name: str, text: str, model: str = "") -> Fact:
    """Make the member that carries ``text``; raises ``ValueError`` when it holds a lone surrogate."""
    if is_plain(text):
        raw = f"{name}={text}"
        return rank, raw, raw, model
    if text != text.strip() or text[0] == '"':
        text = f'"{text}"'
    return rank, f"{name}={text}", f"{name}={escape(text)}", model


def bare(text: str) -> str:
    """Take away the double quotes that kept white space at a text's ends."""
    return text[1:-1] if text[:1] == '"' and len(text) > 1 and text[-1] == '"' else text


class Plan:
    """How the contexts of one model become members, and members a context; ``model`` is None for an undeclared one."""

    def __init__(self, name: str, model: BusinessModel | None) -> None:
        self.name: str = name
        self.model: BusinessModel | None = model
        self._attributes = dict(model.attributes) if model else {}
        self._prefix = f"{PREFIX}{name}."
        self._pseudonymous = model is not None and model.pseudonymise
        self._nameable = _is_name(name) and name not in RESERVED_NAMES

    def facts(self, context: ModelContext, dropped: Drops) -> list[Fact]:
        """Give the members of a context; one whose name, id or state cannot be written gives none."""
        try:
            facts = self._identity(context)
        except (ValueError, TypeError):
            count(dropped, Problem.UNENCODABLE)
            return []
        for name, value in context.attributes.items():
            attribute = self._attributes.get(name)
            if attribute is None and (context.trust is not Trust.VERIFIED or not _is_name(name)):
                count(dropped, Problem.UNDECLARED)  # only what a peer vouched for is known to be harmless
            elif attribute is None or (attribute.travels and not attribute.sensitive):
                self._add(facts, name, attribute or _OF_A_PEER, value, dropped)
        return facts

    def _identity(self, context: ModelContext) -> list[Fact]:
        if not self._nameable:
            raise ValueError("not a name that can travel")
        facts, prefix = [], self._prefix
        if context.entity_id:
            facts.append(fact(_ID, prefix + "id", context.entity_id, self.name))
        if context.state is not None:
            facts.append(fact(_STATE, prefix + "state", context.state, self.name))
        if context.tentative:
            facts.append(fact(VITAL, prefix + "rev", f"{context.revision}+", self.name))
        elif context.revision:
            facts.append(fact(_REVISION, prefix + "rev", str(context.revision), self.name))
        return facts

    def _add(self, facts: list[Fact], name: str, attribute: Attribute, value: Value, dropped: Drops) -> None:
        try:
            text = WRITERS[attribute.type](value)
            facts.append(fact((_ATTRIBUTE, -attribute.priority), self._prefix + name, text, self.name))
        except (TypeError, ValueError, OverflowError):
            count(dropped, Problem.UNENCODABLE)

    def context(
        self, fields: dict[str, str], source: str, trust: Trust, problems: list[Problem]
    ) -> ModelContext | None:
        """Give the context that decoded fields make, using them up; None when it cannot be told how new it is.

        Nor is there one where an id is no pseudonym and should be: a peer that does not pseudonymise would have it in
        our logs.
        """
        revision, tentative = _revision(fields.pop("rev", "0"))
        entity_id = fields.pop("id", "")
        if revision is None or (self._pseudonymous and entity_id and not is_pseudonym(entity_id)):
            problems.append(Problem.MALFORMED_VALUE)
            return None
        made = _new(NewContext)
        made.model = self.name
        made.entity_id = entity_id
        made.state = fields.pop("state", None)
        made.attributes = MappingProxyType(self._values(fields, problems)) if fields else NO_VALUES
        made.revision = revision
        made.tentative = tentative
        made.observed_at = made.entered_at = None
        made.source = source
        made.trust = trust
        made._facts = None  # noqa: SLF001 - a context in the making has no facts yet
        made.__class__ = ModelContext
        return cast("ModelContext", made)

    def _values(self, fields: Mapping[str, str], problems: list[Problem]) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for name, text in fields.items():
            attribute = self._attributes.get(name)
            if attribute and (attribute.sensitive or not attribute.travels):
                continue
            try:
                values[name] = READERS[attribute.type](text) if attribute else text
            except (ValueError, KeyError, OverflowError):
                problems.append(Problem.MALFORMED_VALUE)
        return values


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _revision(text: str) -> tuple[int | None, bool]:
    if text.isdecimal() and text.isascii() and len(text) < 19:
        return int(text), False
    digits = text[:-1] if (tentative := text[-1:] == "+") else text
    readable = digits.isdigit() and digits.isascii() and len(digits) < 19
    return int(digits) if readable else None, tentative


_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_DOUBLE = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]{1,3})?|inf|nan)", re.ASCII)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d:\d\d)", re.ASCII)
_ITEM = re.compile(r"((?:[^\\,]|\\[\\,])*+)(,|\Z)", re.DOTALL)
_BOOL = {"true": True, "false": False}


def _write_string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _write_int(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or not -INT64 <= value < INT64:
        raise TypeError("not an int64")
    return str(value)


def _write_double(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("not a number")
    return repr(float(value))


def _write_bool(value: Any) -> str:
    if not isinstance(value, bool):
        raise TypeError("not a bool")
    return "true" if value else "false"


def _write_timestamp(value: Any) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError("not a moment with its offset")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _write_list(value: Any) -> str:
    if not isinstance(value, tuple):
        raise TypeError("not a list")
    text = ",".join(item.replace("\\", "\\\\").replace(",", "\\,") for item in value)
    return text + "," if value and not value[-1] else text


def _read_int(text: str) -> int:
    if not _INT.fullmatch(text) or not -INT64 <= (number := int(text)) < INT64:
        raise ValueError("not an int64")
    return number


def _read_double(text: str) -> float:
    if not _DOUBLE.fullmatch(text):
        raise ValueError("not a double")
    return float(text)


def _read_timestamp(text: str) -> datetime:
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError("not RFC 3339")
    return datetime.fromisoformat(text).astimezone(UTC)


def _read_list(text: str) -> tuple[str, ...]:
    if "\\" not in text:
        items = text.split(",")
        return tuple(items if items[-1] else items[:-1])
    return _read_escaped(text)


def _read_escaped(text: str) -> tuple[str, ...]:
    items, position, comma = [], 0, ","
    while comma:
        match = _ITEM.match(text, position)
        if match is None:
            raise ValueError("not a list")
        items.append(re.sub(r"\\(.)", r"\1", match[1]))
        position, comma = match.end(), match[2]
    return tuple(items if items[-1] else items[:-1])


WRITERS: dict[str, Callable[[Any], str]] = {
    "string": _write_string,
    "int": _write_int,
    "double": _write_double,
    "bool": _write_bool,
    "decimal": _write_int,
    "timestamp": _write_timestamp,
    "list": _write_list,
}
"""By type: value to text; raises ``TypeError`` (or ``OverflowError``) for a value of another type."""

READERS: dict[str, Callable[[str], Value]] = {
    "string": str,
    "int": _read_int,
    "double": _read_double,
    "bool": _BOOL.__getitem__,
    "decimal": _read_int,
    "timestamp": _read_timestamp,
    "list": _read_list,
}
"""By type: text to value; raises ``ValueError``, ``KeyError`` or ``OverflowError`` for text of another type."""
