"""Transitions as CloudEvents 1.0 (https://github.com/cloudevents/spec, HTTP binding): structured, batched, binary.

    type     mcp_sdk.transition            subject  model/id
    id       the event id, with source     source   who says so
    time     when it was observed          data     {"to_state", "from_state", "attributes", …}

The extension attributes ``namespace`` and ``environment`` say where the entity lives.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from mcp_sdk.server.bodies import parse
from mcp_sdk.server.faults import Fault

__all__ = ["BATCH", "OF_EVENT", "STRUCTURED", "TYPE", "from_binary", "from_structured"]

TYPE = "mcp_sdk.transition"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
LONGEST = 200
"""Characters of an id, and of an event id: of one that is longer with its source the SHA-256 is taken."""
OF_EVENT = ("model", "entity_id", "event_id", "observed_at", "source", "namespace", "environment")


def from_structured(event: Any) -> dict[str, Any]:
    """Give the plain transition that an event in JSON holds; raises a 400."""
    if not isinstance(event, dict):
        raise _unfit("an event is a JSON object")
    data = event.get("data")
    if "data_base64" in event:
        data = _decoded(event["data_base64"])
    return _transition({name: value for name, value in event.items() if name[:4] != "data"}, data)


def from_binary(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Give the plain transition that ``ce-*`` headers and a JSON body make; raises a 400."""
    attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    return _transition(attributes, parse(body) if body else None)


def _decoded(text: Any) -> Any:
    try:
        return parse(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error) as error:
        raise _unfit("data_base64 is not base64") from error


def _transition(attributes: Mapping[str, Any], data: Any) -> dict[str, Any]:
    if attributes.get("specversion") != "1.0":
        raise _unfit(f"specversion is {attributes.get('specversion')!r:.40}; this reads '1.0'")
    if attributes.get("type") != TYPE:
        raise _unfit(f"type is {attributes.get('type')!r:.80}; this takes {TYPE!r}")
    if not isinstance(data, dict):
        raise _unfit("data is a JSON object: what changed")
    if doubled := [name for name in OF_EVENT if name in data]:
        raise _unfit(f"data says {doubled[0]!r}, which is said by the event's own attributes")
    model, _, entity = _text(attributes, "subject").partition("/")
    if not model or not entity:
        raise _unfit("subject is model/id")
    return data | {
        "model": model,
        "entity_id": entity,
        "event_id": _event_id(_text(attributes, "source"), _text(attributes, "id")),
        "source": _text(attributes, "source"),
        "observed_at": attributes.get("time") or datetime.now(UTC).isoformat(),
        "namespace": attributes.get("namespace", "default"),
        "environment": attributes.get("environment", "default"),
    }


def _event_id(source: str, name: str) -> str:
    """Give what tells an event apart: producers answer for ``source`` and ``id`` together (CloudEvents 1.0, "id")."""
    if len(name) > LONGEST:
        raise _unfit(f"id has {len(name)} characters; {LONGEST} are taken at most")
    told = f"{source.replace('%', '%25').replace('#', '%23')}#{name}"
    return told if len(told) <= LONGEST else hashlib.sha256(told.encode(errors="replace")).hexdigest()


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        raise _unfit(f"{name} is missing")
    return value


def _unfit(what: str) -> Fault:
    return Fault(400, "not-an-event", f"not a CloudEvent of a transition: {what}")
