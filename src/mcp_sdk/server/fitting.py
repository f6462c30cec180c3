"""Transitions of plain JSON that surely fit, read in half of the time that their models take.

What is read here those models accept, and read alike; of anything else this says nothing, and they are asked. They are
in ``mcp_sdk.server.routes.transitions``, and so are the words that a refusal uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mcp_sdk.context import NewTransition, Outcome, Transition
from mcp_sdk.server.bodies import INT53

__all__ = ["INT64", "LONG", "MOST_ATTRIBUTES", "NAME", "TEXT", "transition"]

INT64 = 2**63
"""The bound of whole numbers that are attributes."""
LONG, TEXT, NAME = 1_048_576, 4096, 200
"""The most characters of an attribute, of other texts, and of names."""
MOST_ATTRIBUTES = 1_000
_SECONDS, _MICROSECONDS = len("2026-01-01T00:00:00+00:00"), len("2026-01-01T00:00:00.000000+00:00")
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def _text(value: Any) -> bool:
    return type(value) is str and len(value) <= TEXT and "\0" not in value


def _name(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= NAME and "\0" not in value


def _short(value: Any) -> bool:
    return value == "" or _name(value)


def _state(value: Any) -> bool:
    return value is None or _text(value)


def _attributes(value: Any) -> bool:
    return (
        type(value) is dict
        and len(value) <= MOST_ATTRIBUTES
        and all(_name(name) and _value(one) for name, one in value.items())
    )


def _value(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return len(value) <= LONG and "\0" not in value
    return kind is float or kind is bool or (kind is int and -INT64 <= value < INT64)


def _moment(value: Any) -> bool:
    """Tell whether it is a moment in the one form that clients of ours write; others are read too, but not here."""
    if value is None:
        return True
    size = len(value) if type(value) is str else 0
    if size not in (_SECONDS, _MICROSECONDS) or value[-6:] != "+00:00" or value[10] != "T":
        return False
    return value[4] == value[7] == "-" and value[13] == value[16] == ":" and (size == _SECONDS or value[19] == ".")


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "model": _name,
    "entity_id": lambda value: value != "" and _text(value),
    "to_state": _state,
    "event_id": _name,
    "from_state": _state,
    "attributes": _attributes,
    "outcome": lambda value: type(value) is str and value in _OUTCOMES,
    "base_revision": lambda value: value is None or (type(value) is int and 0 <= value <= INT53),
    "batch_id": _short,
    "namespace": _name,
    "environment": _name,
    "observed_at": _moment,
    "source": _text,
    "operation": _text,
    "cause": _text,
    "duration": lambda value: type(value) is float and value >= 0,
    "trace_id": _short,
}
_REQUIRED = frozenset({"model", "entity_id", "event_id"})


def transition(plain: Any, now: datetime) -> Transition | None:
    """Give the transition that plain JSON is, observed ``now`` unless it says when; None where it may not fit."""
    if type(plain) is not dict or not plain.keys() >= _REQUIRED:
        return None
    for name, value in plain.items():
        fits = _FITS.get(name)
        if fits is None or not fits(value):
            return None
    said = plain.get("observed_at")
    try:
        return _made(plain.get, now if said is None else datetime.fromisoformat(said))
    except ValueError:
        return None


def _made(said: Callable[..., Any], observed_at: datetime) -> Transition:
    new: Any = NewTransition(
        said("model"),
        said("entity_id"),
        said("to_state"),
        said("event_id"),
        said("from_state"),
        said("attributes", {}),
        _OUTCOMES[said("outcome", "committed")],
        said("base_revision"),
        said("batch_id", ""),
        said("namespace", "default"),
        said("environment", "default"),
        observed_at,
        said("source", ""),
        said("operation", ""),
        said("cause", ""),
        said("duration", 0.0),
        said("trace_id", ""),
    )
    new.__class__ = Transition
    made: Transition = new
    return made
