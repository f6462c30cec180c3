"""Transitions that surely fit, read from a body at once, in a small part of the time that their models take.

What is read here those models accept, and read alike; of anything else this says nothing, and they are asked. They are
in ``mcp_sdk.server.routes.transitions``, and so are the words that a refusal uses. Reads JSON (RFC 8259) with msgspec.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mcp_sdk.context import NewTransition, Outcome, Transition
from mcp_sdk.server.bodies import INT53

__all__ = ["INT64", "LONG", "MOST_ATTRIBUTES", "NAME", "TEXT", "transitions"]

INT64 = 2**63
"""The bound of whole numbers that are attributes."""
LONG, TEXT, NAME = 1_048_576, 4096, 200
"""The most characters of an attribute, of other texts, and of names."""
MOST_ATTRIBUTES = 1_000
_SECONDS, _MICROSECONDS = len("2026-01-01T00:00:00+00:00"), len("2026-01-01T00:00:00.000000+00:00")
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}

_Name = Annotated[str, Meta(min_length=1, max_length=NAME)]
_Short = Annotated[str, Meta(max_length=NAME)]
_Text = Annotated[str, Meta(max_length=TEXT)]
_Long = Annotated[str, Meta(max_length=LONG)]
_Whole = Annotated[int, Meta(ge=-INT64, le=INT64 - 1)]
_Value = bool | _Whole | float | _Long


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    model: _Name
    entity_id: Annotated[str, Meta(min_length=1, max_length=TEXT)]
    event_id: _Name
    to_state: _Text | None = None
    from_state: _Text | None = None
    attributes: Annotated[dict[_Name, _Value], Meta(max_length=MOST_ATTRIBUTES)] = {}
    outcome: Literal["committed", "aborted"] = "committed"
    base_revision: Annotated[int, Meta(ge=0, le=INT53)] | None = None
    batch_id: _Short = ""
    namespace: _Name = "default"
    environment: _Name = "default"
    observed_at: str | None = None
    source: _Text = ""
    operation: _Text = ""
    cause: _Text = ""
    duration: Annotated[float, Meta(ge=0)] = 0.0
    trace_id: _Short = ""


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    transitions: list[_Said]


_read = msgspec.json.Decoder(_Batch).decode


def transitions(body: bytes, now: datetime) -> list[Transition] | None:
    """Give the transitions of a batch, observed ``now`` unless they say when; None where any of them may not fit.

    A batch is ``{"transitions": […]}``, in UTF-8.
    """
    if b"\\u0000" in body:  # no text may hold it
        return None
    try:
        return [_made(said, now) for said in _read(body).transitions]
    except (msgspec.MsgspecError, ValueError):
        return None


def _made(said: _Said, now: datetime) -> Transition:
    new: Any = NewTransition(
        said.model,
        said.entity_id,
        said.to_state,
        said.event_id,
        said.from_state,
        said.attributes,
        _OUTCOMES[said.outcome],
        said.base_revision,
        said.batch_id,
        said.namespace,
        said.environment,
        now if said.observed_at is None else _moment(said.observed_at),
        said.source,
        said.operation,
        said.cause,
        said.duration,
        said.trace_id,
    )
    new.__class__ = Transition
    made: Transition = new
    return made


def _moment(text: str) -> datetime:
    """Read a moment in the one form that clients of ours write; raises ``ValueError``.

    Others are read too, but not here.
    """
    size = len(text)
    if size not in (_SECONDS, _MICROSECONDS) or text[-6:] != "+00:00" or text[10] != "T":
        raise ValueError(text)
    if not (text[4] == text[7] == "-" and text[13] == text[16] == ":" and (size == _SECONDS or text[19] == ".")):
        raise ValueError(text)
    return datetime.fromisoformat(text)
