"""The lines of a decision log → what was asked and answered then, or why a line cannot be used.

Nothing is held: a log of a million lines is read line by line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mcp_sdk.decision_record import absent_from_record, plain_decision, request_from_record
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.exceptions import RecordError

__all__ = ["LONGEST", "Answer", "Line", "Record", "Unread", "answer_of", "read_records"]

LONGEST = 2**20
"""Bytes that a line may have; no record of ours comes near it."""

_CALL = frozenset({"service", "operation", "phase", "namespace"})
_ADMISSION = frozenset({"throttle", "shed"})


class Line(NamedTuple):
    """One line of a log: its number, its bytes, and whether it is whole (has its end, and is not too long)."""

    number: int
    raw: bytes
    whole: bool = True
    log: str = ""

    @property
    def place(self) -> str:
        """Where it stands, for a person."""
        return f"{self.log}:{self.number}" if self.log else f"line {self.number}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What of a decision can be compared, in words.

    A share that chance drew is told as the whole split, for the next draw says nothing of the policies. ``limits`` are
    named, for counting is no part of a decision. ``rules`` are ``(policy, rule)`` of each word, ``default`` for a
    default's.
    """

    verdict: str
    route: str
    qos: str
    limits: tuple[str, ...]
    advice: str
    rules: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record: where it stands, its question, the facts that are unknown, and the answer that was given then."""

    place: str
    request: DecisionRequest
    unknown: frozenset[str]
    answer: Answer


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that cannot be used: ``why`` is one of few sentences, ``detail`` is of this line."""

    place: str
    why: str
    detail: str = ""


def answer_of(decision: Decision | Mapping[str, Any]) -> Answer:
    """Give what of a decision, or of a record of one, can be compared; raises ``RecordError`` for a damaged record."""
    told = plain_decision(decision) if isinstance(decision, Decision) else decision
    try:
        spoken = [*told["reasons"], *told["limits"]]
        return Answer(
            verdict=str(told["verdict"]),
            route=_route(told),
            qos=" ".join(part for part in (told["qos"], told["service_class"]) if part) or "none",
            limits=tuple(f"{_rule(one)[0]}/{_rule(one)[1]} {one['detail']}" for one in told["limits"]),
            advice=json.dumps(told["advice"], sort_keys=True, ensure_ascii=False) if told["advice"] else "none",
            rules=tuple(dict.fromkeys(map(_rule, spoken))),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"the answer of the record cannot be read: {error!s:.120}") from error


def _rule(reason: Mapping[str, Any]) -> tuple[str, str]:
    return str(reason["policy"]), str(reason["rule"]) or "default"


def _route(told: Mapping[str, Any]) -> str:
    where = str(told["route"] or "any endpoint")
    if told["drawn"]:
        where = next((str(one["detail"]) for one in told["reasons"] if one["effect"] == "route"), where)
    more = (("priority", told["priority"]), ("timeout", told["timeout"]))
    return ", ".join([where, *(f"{name} {value}" for name, value in more if value)])


def read_records(lines: Iterable[Line]) -> Iterator[Record | Unread]:
    """Read the records of a log, each as it comes; empty lines are passed over.

    What stands before the first ``{`` of a line is what a log handler put there. A record of admission is none of a
    decision: the decision that it followed has a record of its own.
    """
    for line in lines:
        if line.raw.strip():
            yield _read(line)


def _read(line: Line) -> Record | Unread:
    if len(line.raw) > LONGEST:
        return Unread(line.place, "longer than any record", f"over {LONGEST} bytes")
    try:
        text = line.raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Unread(line.place, "no UTF-8 text", f"byte {error.start + 1} is 0x{line.raw[error.start]:02x}")
    start = text.find("{")
    if start < 0:
        return Unread(line.place, "no JSON object")
    try:
        return _record(line.place, json.loads(text[start:]))
    except (ValueError, RecursionError) as error:
        why = "no JSON object" if line.whole else "cut short: the log ends inside this line"
        return Unread(line.place, why, f"{error!s:.120}")
    except RecordError as error:
        return Unread(line.place, "no record of a decision that this version reads", str(error))


def _record(place: str, plain: dict[str, Any]) -> Record | Unread:
    request, answer = request_from_record(plain), answer_of(plain)
    hidden = plain.get("hidden", [])
    if not isinstance(hidden, list) or not all(isinstance(name, str) for name in hidden):
        raise RecordError("hidden is no list of names")
    if _of_admission(plain):
        return Unread(place, "a record of admission, which follows that of the decision")
    if masked := _CALL & set(hidden):
        return Unread(place, "a mask changed what call it was", ", ".join(sorted(masked)))
    found = absent_from_record(plain)
    missing = {ref.model for ref in request.references if ref.model not in request.contexts and ref not in found}
    return Record(place, request, frozenset(missing.union(hidden)), answer)


def _of_admission(plain: Mapping[str, Any]) -> bool:
    shadow = plain.get("shadow")
    throttled = isinstance(shadow, Mapping) and shadow.get("verdict") == "throttle"
    return throttled or str(plain["verdict"]) in _ADMISSION
