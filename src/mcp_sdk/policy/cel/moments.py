"""CEL's timestamps and durations, to the nanosecond.

Sources: CEL specification, "Timestamps" and "Durations"; RFC 3339; the text form of Go's ``time.Duration``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

__all__ = ["CelError", "Duration", "Timestamp", "parse_duration", "parse_timestamp", "zone"]

SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_TIMESTAMP, MAX_TIMESTAMP = -62135596800 * SECOND, 253402300800 * SECOND - 1
MAX_DURATION = 315576000000 * SECOND
_INT64 = 2**63

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,30}))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))\Z",
    re.ASCII,
)
_PART = re.compile(r"(\d+)(?:\.(\d*))?(h|ms|m|s|us|µs|μs|ns)|\.(\d+)(h|ms|m|s|us|µs|μs|ns)", re.ASCII)
_UNIT = {"h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 10**6, "us": 1000, "µs": 1000, "μs": 1000, "ns": 1}
_OFFSET = re.compile(r"([+-]?)(\d\d?):(\d\d)\Z", re.ASCII)


class CelError(Exception):
    """A CEL evaluation error: the value of an expression that has none."""


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """``nanoseconds`` since the Unix epoch, from year 1 to 9999."""

    nanoseconds: int

    def __post_init__(self) -> None:
        if not MIN_TIMESTAMP <= self.nanoseconds <= MAX_TIMESTAMP:
            raise CelError("timestamp out of range")

    @classmethod
    def of(cls, moment: datetime) -> Timestamp:
        """Convert a datetime; a naive one is taken as UTC."""
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        delta = aware - _EPOCH
        return cls((delta.days * 86400 + delta.seconds) * SECOND + delta.microseconds * 1000)

    def at(self, where: tzinfo) -> datetime:
        """Give the date and time in a zone, cut to microseconds."""
        try:
            return (_EPOCH + timedelta(microseconds=self.nanoseconds // 1000)).astimezone(where)
        except OverflowError:
            raise CelError("timestamp out of range in this zone") from None

    def __str__(self) -> str:
        seconds, rest = divmod(self.nanoseconds, SECOND)
        moment = _EPOCH + timedelta(seconds=seconds)
        fraction = _fraction(rest)
        date = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}"
        return f"{date}T{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}{fraction}Z"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """``nanoseconds``, either way, within 10 000 years."""

    nanoseconds: int

    def __post_init__(self) -> None:
        if not -MAX_DURATION <= self.nanoseconds <= MAX_DURATION:
            raise CelError("duration out of range")

    def whole(self, unit: int) -> int:
        """Count whole units of ``unit`` nanoseconds, towards zero."""
        return int(abs(self.nanoseconds) // unit * (1 if self.nanoseconds >= 0 else -1))

    def __str__(self) -> str:
        seconds, rest = divmod(abs(self.nanoseconds), SECOND)
        fraction = _fraction(rest)
        return f"{'-' if self.nanoseconds < 0 else ''}{seconds}{fraction}s"


def _fraction(nanoseconds: int) -> str:
    """Write a fraction of a second in groups of three digits, as protobuf's JSON does."""
    text = f".{nanoseconds:09d}"
    while text.endswith("000"):
        text = text[:-3]
    return text.rstrip(".")


def parse_timestamp(text: str) -> Timestamp:
    """Read RFC 3339; raises ``CelError``."""
    match = _RFC3339.match(text)
    if not match:
        raise CelError("not an RFC 3339 timestamp")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    offset = 0
    if match[8]:
        offset = (int(match[9]) * 3600 + int(match[10]) * 60) * (1 if match[8] == "+" else -1)
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError as error:
        raise CelError(str(error)) from None
    if second > 60:
        raise CelError("second must be in 0..60")
    nanoseconds = int((match[7] or "0").ljust(9, "0")[:9]) + (SECOND if second == 60 else 0)
    return Timestamp(Timestamp.of(moment).nanoseconds - offset * SECOND + nanoseconds)


def parse_duration(text: str) -> Duration:
    """Read ``1h30m``, ``-1.5s``, ``100ms``; raises ``CelError``."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return Duration(0)
    total = index = 0
    while index < len(rest):
        match = _PART.match(rest, index)
        if not match or index > 200:
            raise CelError("not a duration")
        unit = _UNIT[match[3] or match[5]]
        fraction = (match[2] or match[4] or "")[:18]
        total += int((match[1] or "0")[:25]) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        index = match.end()
    if not rest:
        raise CelError("not a duration")
    return Duration(sign * total)


def zone(name: str) -> tzinfo:
    """Give a zone by its IANA name or as ``+HH:MM``; raises ``CelError``."""
    match = _OFFSET.match(name)
    if match:
        minutes = int(match[2]) * 60 + int(match[3])
        if minutes >= 1440:
            raise CelError("unknown timezone")
        return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    if name in ("", "UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CelError("unknown timezone") from None
