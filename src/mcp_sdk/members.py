"""The list of the W3C ``baggage`` header: its members as text, whoever's they are.

Source: W3C Baggage (https://www.w3.org/TR/baggage/), with ``token`` and ``OWS`` from RFC 9110 sections 5.6.2 and 5.6.3,
and percent-encoding from RFC 3986 section 2.1. A *raw member* is one list-member as it stands in a header, without the
white space around it: printable ASCII, so that sending it on can add no header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from mcp_sdk.exceptions import BaggageError

__all__ = [
    "MAX_BYTES",
    "MAX_READ",
    "Member",
    "Property",
    "escape",
    "fitting",
    "is_plain",
    "join",
    "key_of",
    "safe",
    "split",
]

MAX_BYTES = 8192
"""What a whole header may hold; below this every member is sent on, however many there are."""

MAX_READ = 16384
"""How much of a header is looked at; members beyond it are left out."""

_OWS = " \t"
_SAFE_RAW = re.compile(r"[\t\x20-\x7e]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_PLAIN = re.compile(r"[A-Za-z0-9\-._~]*")

is_plain = _PLAIN.fullmatch
"""Matches text that percent-encoding leaves as it is: the unreserved characters of RFC 3986."""


def escape(text: str) -> str:
    """Percent-encode all but unreserved characters, as UTF-8; raises ``ValueError`` for a lone surrogate."""
    return text if is_plain(text) else quote(text, safe="")


def join(lines: Iterable[str | bytes]) -> str:
    """Give the one list that several header lines stand for (RFC 9110 section 5.3); bytes are read as Latin-1."""
    if isinstance(lines, (str, bytes)):
        lines = (lines,)
    if type(lines) is tuple and len(lines) == 1:
        return lines[0] if isinstance(lines[0], str) else lines[0].decode("latin-1")
    return ",".join([line if isinstance(line, str) else line.decode("latin-1") for line in lines])


def split(text: str) -> list[str]:
    """Give the raw members of a list, in order; empty ones are left out."""
    raws = text.split(",")
    if " " in text or "\t" in text or "" in raws:
        return [member for raw in raws if (member := raw.strip(_OWS))]
    return raws


def safe(members: Iterable[str]) -> list[str]:
    """Give those of the raw members that hold nothing but printable ASCII and tabs."""
    return [raw for raw in members if _SAFE_RAW.fullmatch(raw)]


def fitting(raws: Iterable[str], room: int) -> list[str]:
    """Give raw members from the first on, as many whole ones as a list of ``room`` bytes holds."""
    kept: list[str] = []
    for raw in raws:
        room -= len(raw) + 1
        if room < -1:
            break
        kept.append(raw)
    return kept


def key_of(raw: str) -> str:
    """Give a raw member's key; one that is percent-encoded is decoded, for OpenTelemetry's clients decode keys too."""
    key = raw.partition("=")[0].partition(";")[0].strip(_OWS)
    return unquote(key).strip() if "%" in key else key


@dataclass(frozen=True, slots=True)
class Property:
    """Metadata of a member: a key, and a decoded value or None."""

    key: str
    value: str | None = None

    @classmethod
    def parse(cls, raw: str) -> Property:
        """Read ``key`` or ``key=value``; raises ``BaggageError`` for anything else."""
        key, equals, value = (part.strip(_OWS) for part in raw.partition("="))
        return cls(_token(key), _decoded(value) if equals else None)

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={escape(self.value)}"


@dataclass(frozen=True, slots=True)
class Member:
    """One list-member: a key, its decoded value and its properties."""

    key: str
    value: str
    properties: tuple[Property, ...] = ()

    @classmethod
    def parse(cls, raw: str) -> Member:
        """Read ``key=value;property;…``; raises ``BaggageError`` of kind ``malformed_member`` for anything else."""
        pair, *properties = raw.split(";")
        key, equals, value = (part.strip(_OWS) for part in pair.partition("="))
        if not equals:
            raise BaggageError("malformed_member", "a baggage member has no '='")
        return cls(_token(key), _decoded(value), tuple(map(Property.parse, properties)))

    def __str__(self) -> str:
        return ";".join([f"{self.key}={escape(self.value)}", *map(str, self.properties)])


def _token(key: str) -> str:
    if not _TOKEN.fullmatch(key):
        raise BaggageError("malformed_member", "the key of a baggage member is not a token (RFC 9110)")
    return key


def _decoded(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise BaggageError("malformed_member", "a baggage member has characters that must be percent-encoded")
    return unquote(value, errors="replace")
