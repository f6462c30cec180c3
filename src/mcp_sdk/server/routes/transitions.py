"""``/v1/transitions``: services say what happened to their entities, one by one, in batches, or as CloudEvents."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from mcp_sdk.context import Scope, Transition
from mcp_sdk.server import bodies, cloudevents, fitting
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, Desk, Here
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.fitting import INT64, LONG, MOST_ATTRIBUTES, NAME, TEXT
from mcp_sdk.server.owners import require_owner

__all__ = ["router"]

router = bodies.router("/v1/transitions", tags=["transitions"])
Text = Annotated[str, Field(strict=True, max_length=TEXT, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=NAME, pattern=r"^[^\x00]+$")]
Whole = Annotated[int, Field(strict=True, ge=-INT64, lt=INT64)]


class Moment(BaseModel):
    """An attribute that is a moment."""

    model_config = ConfigDict(extra="forbid")
    timestamp: bodies.When


def _real(value: Any) -> Any:
    if not isinstance(value, float):
        raise ValueError("a whole number of more than 64 bits")  # noqa: TRY004 - pydantic collects these
    return value


def _few(attributes: Any) -> Any:
    if isinstance(attributes, dict) and len(attributes) > MOST_ATTRIBUTES:  # looked at before each of them is
        raise ValueError(f"more than {MOST_ATTRIBUTES} attributes")
    return attributes


Long = Annotated[str, Field(strict=True, max_length=LONG, pattern=r"^[^\x00]*$")]
Value = bool | Whole | Annotated[float, BeforeValidator(_real)] | Long | list[Long] | Moment


class Said(BaseModel):
    """What happened to one entity. Sent again with the same ``event_id`` it changes nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: Name
    entity_id: Annotated[Text, Field(min_length=1)]
    to_state: Text | None = None
    event_id: Annotated[Text, Field(min_length=1, max_length=NAME)]
    from_state: Text | None = None
    attributes: Annotated[dict[Name, Value], Field(max_length=MOST_ATTRIBUTES), BeforeValidator(_few)] = {}
    outcome: Literal["committed", "aborted"] = "committed"
    base_revision: Annotated[int | None, Field(ge=0, le=bodies.INT53)] = None
    batch_id: Annotated[Text, Field(max_length=NAME)] = ""
    namespace: Name = "default"
    environment: Name = "default"
    observed_at: bodies.When | None = None
    source: Text = ""
    operation: Text = ""
    cause: Text = ""
    duration: Annotated[float, Field(ge=0)] = 0.0
    trace_id: Annotated[Text, Field(max_length=NAME)] = ""


class Batch(BaseModel):
    """Transitions, in order. Those of one ``batch_id`` are applied all or none."""

    transitions: list[Said]


class Outcome(BaseModel):
    """What became of a transition: ``revision`` is the entity's revision after it."""

    status: str = Field(description="applied, duplicate, late or logged")
    revision: int
    since: float | None = Field(description="seconds that the entity spent in the state it left")


class Outcomes(BaseModel):
    """One outcome a transition, in order."""

    results: list[Outcome]


_SAID, _BATCH = TypeAdapter(Said), TypeAdapter(Batch)
_LEFT_OUT: dict[str, Any] = {"to_state": None, "attributes": {}, "outcome": "committed"}


def _schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Give a schema that needs no other, for OpenAPI."""
    schema = adapter.json_schema()
    held = schema.pop("$defs", {})

    def opened(plain: Any) -> Any:
        if isinstance(plain, dict):
            name = str(plain.get("$ref", "")).rpartition("/")[2]
            return opened(held[name]) if name else {key: opened(value) for key, value in plain.items()}
        return [opened(item) for item in plain] if isinstance(plain, list) else plain

    found: dict[str, Any] = opened(schema)
    return found


def _data() -> dict[str, Any]:
    """Give the schemas of what an event's data may say: what its attributes do not."""
    return {name: held for name, held in _schema(_SAID)["properties"].items() if name not in cloudevents.OF_EVENT}


_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "a CloudEvent 1.0 of type mcp_sdk.transition, as docs/cloudevents.md says",
    "required": ["specversion", "type", "id", "source", "subject", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "type": {"const": cloudevents.TYPE},
        "id": {"type": "string", "minLength": 1, "maxLength": 200},
        "source": {"type": "string", "minLength": 1, "maxLength": 4096},
        "subject": {"type": "string", "pattern": "^[^/]+/.+$"},
        "data": {"type": "object", "additionalProperties": False, "properties": _data()},
    },
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"anyOf": [_schema(_BATCH), _schema(_SAID)]}},
            cloudevents.STRUCTURED: {"schema": _EVENT},
            cloudevents.BATCH: {"schema": {"type": "array", "items": _EVENT}},
        },
    }
}


@router.post("", openapi_extra=_BODY, response_model=Outcomes)
async def publish(desk: Here, caller: Asker, request: Request) -> Response:
    """Store transitions durably; an event id that came before changes nothing, so a batch may be sent again."""
    caller.require_some(Permission.PUBLISH)
    transitions = _received(request, await request.body(), desk.settings.batch)
    asserted = {(one.namespace, one.environment, one.model) for one in transitions}
    for scope in {Scope(namespace, environment) for namespace, environment, _ in asserted}:
        caller.require(Permission.PUBLISH, scope, caller.service)
    await require_owner(desk.shelf, caller, asserted)
    return await _stored(desk, transitions)


async def _stored(desk: Desk, transitions: list[Transition]) -> Response:
    """Store them; the answer is what ``Outcomes`` describes, which our own values need not be checked against."""
    results = await desk.appender.append(transitions)
    desk.metrics.stored(results)
    return Response(msgspec.json.encode({"results": results}), media_type="application/json")


def _received(request: Request, body: bytes, most: int) -> list[Transition]:
    """Give the transitions of a body, ``most`` at most; raises a 4xx that says what does not fit."""
    kind, now = bodies.content_type(request), datetime.now(UTC)
    found = None
    if kind == "application/json" and "ce-specversion" not in request.headers:
        bodies.require_few(body)
        found = fitting.transitions(body, now)
    plain = _read(request, kind, body) if found is None else found
    if isinstance(plain, list) and len(plain) > most:
        raise Fault(422, "batch-too-large", f"{len(plain)} transitions; send {most} at most")
    return _checked(plain, now) if found is None else found


def _read(request: Request, kind: str, body: bytes) -> Any:
    """Give what is to be a list of transitions."""
    if kind == cloudevents.STRUCTURED:
        return [cloudevents.from_structured(bodies.parse(body))]
    if kind == cloudevents.BATCH:
        return [cloudevents.from_structured(one) for one in _list(bodies.parse(body))]
    if kind != "application/json":
        raise Fault(415, "not-json", f"send application/json, {cloudevents.STRUCTURED} or {cloudevents.BATCH}")
    if "ce-specversion" in request.headers:
        return [cloudevents.from_binary(request.headers, body)]
    plain = bodies.parse(body, twice=True)  # as ``fitting`` reads it, which cannot tell
    return plain["transitions"] if isinstance(plain, dict) and "transitions" in plain else [plain]


def _list(plain: Any) -> list[Any]:
    if not isinstance(plain, list):
        raise Fault(422, "invalid", "a batch of events is a JSON array")
    return plain


def _checked(plain: Any, now: datetime) -> list[Transition]:
    """Give transitions whose every field fits; raises a 422 that names the first that does not."""
    if not isinstance(plain, list):
        raise Fault(422, "invalid", "transitions: a list of transitions")
    return [_validated(number, one, now) for number, one in enumerate(plain)]


def _validated(number: int, plain: Any, now: datetime) -> Transition:
    """Give one as the models read it."""
    try:
        duration = _SAID.validate_python(plain).duration
    except ValidationError as error:
        raise _unfit(number, error) from error
    observed_at = plain.get("observed_at") or now.isoformat()
    return Transition.from_dict(_LEFT_OUT | plain | {"observed_at": observed_at, "duration": duration})


def _unfit(number: int, error: ValidationError) -> Fault:
    found = islice(error.errors(include_url=False, include_input=False), 20)
    places = [{"at": ".".join(map(str, ("transitions", number, *one["loc"]))), "is": one["msg"][:200]} for one in found]
    return Fault(422, "invalid", f"{places[0]['at']}: {places[0]['is']}", errors=places)
