"""The records of the decision log: a question and its answer as plain JSON, and back to the question.

    {"format": 1, "time": ISO 8601, "service", "operation", "phase", "namespace", "environment",
     "request": {"method", "path", "operation", "scheme", "host", "size", "geo": {…}},
     "principal": {"id", "authenticated", "type", "roles", "scopes", "mfa", "acr", "auth_time"},
     "source": {"service", "namespace", "environment", "verified"},
     "contexts": [{"model", "id", "state", "attributes", …}, …], "references": [[model, id], …],
     "absent": [[model, id], …], "hidden": [name, …],
     "verdict", "route", "drawn", "priority", "timeout", "qos", "service_class", "limits": [{…}, …], "advice",
     "reasons": [{…}, …], "shadow": null or the same from "verdict" on, "epoch", "revision", "enforced": false,
     "rollout": {"id", "stage", "arm": "current" or "candidate", "other": null or the same from "verdict" on}}

``hidden`` names what the call had and the record has not, as conditions name it (``request.headers``, ``principal.id``,
``now``; a model's name for a context): whoever decides again must not take it for absent. ``absent`` are references
that policies looked at and nobody found. ``drawn`` says that chance chose the share of a split. ``enforced`` is there
where a refusal was not carried out: the service observes, by its mode or because the glass is broken. ``rollout`` is
there while a policy change is rolled out: which side decided, and what the other would have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.decisions import Decision, DecisionRequest, Geo, Phase, Principal, Reason, RequestFacts, Rolled, Source
from mcp_sdk.exceptions import ModelError, RecordError

__all__ = ["FORMAT", "absent_from_record", "hide_changes", "plain_decision", "plain_request", "request_from_record"]

FORMAT = 1
T = TypeVar("T")
_REQUEST = ("method", "path", "operation", "scheme", "host", "size")
_PRINCIPAL = ("id", "authenticated", "type", "roles", "scopes", "mfa", "acr", "auth_time")
_SOURCE = ("service", "namespace", "environment", "verified")
_GEO = tuple(field.name for field in fields(Geo))


def _kinds(kind: type[Any], names: Iterable[str]) -> dict[str, type[Any]]:
    """Give the types of some fields of a frozen value: those of their defaults."""
    defaults = {field.name: field.default for field in fields(kind)}
    return {name: type(defaults[name]) for name in names}


_KINDS = {
    RequestFacts: _kinds(RequestFacts, _REQUEST),
    Principal: _kinds(Principal, [name for name in _PRINCIPAL if name != "auth_time"]),
    Source: _kinds(Source, _SOURCE),
    Geo: _kinds(Geo, _GEO),
}
_NEVER = ("request.headers", "request.query", "principal.attributes", "source.address")
_OF_PATH = ("request.method", "request.path", "request.operation", "request.host")
_CALL = ("service", "operation", "phase", "namespace")
_REASON = ("policy", "kind", "rule", "effect", "clause", "detail", "trust", "shadow")


def plain_request(
    request: DecisionRequest,
    *,
    operation: str,
    anonymous: bool = False,
    pseudonymous: bool = False,
    absent: Iterable[EntityRef] = (),
) -> dict[str, Any]:
    """Give a question as plain JSON.

    Headers, the query, the principal's further attributes and the peer's address are named as hidden where there are
    any. ``operation`` is what is shown in the place of the request's. ``anonymous`` hides the principal's id,
    ``pseudonymous`` what the caller wrote of the call: it may hold an id that is to be shown as a pseudonym.
    """
    known, absent = request.references, list(absent)
    hidden = set(_hidden(request, anonymous=anonymous, pseudonymous=pseudonymous))
    if pseudonymous:  # an id that nobody found is a text that the caller wrote
        held = {context.ref for context in request.contexts.values()}
        hidden |= {ref.model for ref in (*known, *absent) if ref not in held}
        known, absent = tuple(ref for ref in known if ref in held), []
    facts = _section(request.request, "request", _REQUEST, hidden)
    principal = _section(request.principal, "principal", _PRINCIPAL, hidden)
    time = principal["auth_time"]
    return {
        "format": FORMAT,
        "time": request.now.isoformat(),
        "service": request.service,
        "operation": operation,
        "phase": request.phase.value,
        "namespace": request.namespace,
        "environment": request.environment,
        "request": facts | {"geo": {name: getattr(request.request.geo, name) for name in _GEO}},
        "principal": principal | {"auth_time": time.isoformat() if time else None},
        "source": _section(request.source, "source", _SOURCE, hidden),
        "contexts": [context.to_dict() for context in request.contexts.values()],
        "references": [list(ref) for ref in known],
        "absent": [list(ref) for ref in absent],
        "hidden": sorted(hidden),
    }


def _hidden(request: DecisionRequest, *, anonymous: bool, pseudonymous: bool) -> Iterator[str]:
    names = (*_NEVER, *(("principal.id",) if anonymous else ()), *(_OF_PATH if pseudonymous else ()))
    for name in names:
        section, _, field = name.partition(".")
        if getattr(getattr(request, section), field):
            yield name


def _section(facts: Any, name: str, names: Iterable[str], hidden: Container[str]) -> dict[str, Any]:
    shown = {field: "" if f"{name}.{field}" in hidden else getattr(facts, field) for field in names}
    return {field: list(value) if isinstance(value, tuple) else value for field, value in shown.items()}


def plain_decision(decision: Decision, *, enforced: bool = True) -> dict[str, Any]:
    """Give an answer as plain JSON. Keys of limits and what sticks are left out: they hold ids.

    ``enforced`` says whether refusals are carried out; it shows where this is one, and is not.
    """
    told = _plain(decision)
    shadow = None if decision.shadow is None else _plain(decision.shadow)
    told |= {"shadow": shadow, "epoch": decision.epoch, "revision": decision.revision}
    told |= {} if enforced or decision.permitted else {"enforced": False}
    return told if decision.rolled is None else told | {"rollout": _rolled(decision.rolled)}


def _rolled(rolled: Rolled) -> dict[str, Any]:
    other = None if rolled.other is None else _plain(rolled.other)
    return {"id": rolled.id, "stage": rolled.stage, "arm": rolled.arm, "other": other}


def _plain(decision: Decision) -> dict[str, Any]:
    route, qos = decision.route, decision.qos
    return {
        "verdict": decision.verdict.name,
        "route": str(route.subset or "any endpoint") if route is not None else None,
        "drawn": decision.drawn,
        "priority": route.priority if route is not None else "",
        "timeout": route.timeout if route is not None else None,
        "qos": qos.priority if qos is not None else None,
        "service_class": qos.service_class if qos is not None else "",
        "limits": [_reason(limit.reason) for limit in decision.limits],
        "advice": dict(decision.advice),
        "reasons": [_reason(reason) for reason in decision.reasons],
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {name: getattr(reason, name) for name in _REASON}


def hide_changes(before: str, masked: dict[str, Any]) -> dict[str, Any]:
    """Name as hidden what a mask changed of a question; ``before`` is ``json.dumps`` of the record it was given."""
    if "format" not in masked:
        return masked
    record, after = json.loads(before), json.loads(json.dumps(masked, default=str))
    now = dict(_facts(after))
    changed = {name for name, value in _facts(record) if now.get(name) != value}
    if after.get("references") != record["references"]:
        changed |= {model for model, _ in record["references"]}
    return masked | {"hidden": sorted({*record["hidden"], *masked.get("hidden", ()), *changed})}


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a record tells of a call, by the names that conditions use."""
    yield from ((name, record.get(name)) for name in _CALL)
    yield "now", record.get("time")
    for section in ("request", "principal", "source"):
        found = record.get(section)
        for field, value in (found if isinstance(found, Mapping) else {}).items():
            nested = value if isinstance(value, Mapping) else {}
            yield from ((f"{section}.{field}.{name}", inner) for name, inner in nested.items())
            yield f"{section}.{field}", value
    contexts = record.get("contexts")
    for context in contexts if isinstance(contexts, list) else ():
        if isinstance(context, Mapping):
            yield str(context.get("model")), context


def request_from_record(record: Any) -> DecisionRequest:
    """Read the question of a record; what it hides is empty in it, and named by its ``hidden``.

    Raises ``RecordError`` that says what is wrong.
    """
    fields = _Fields(record)
    fields.check_format()
    facts, principal = fields.inner("request"), fields.inner("principal")
    geo = facts.inner("geo").keywords(Geo)
    return DecisionRequest(
        service=fields.read("service", str),
        operation=fields.read("operation", str),
        phase=fields.made("phase", Phase),
        contexts={context.model: context for context in fields.each("contexts", _context)},
        references=tuple(fields.each("references", _ref)),
        request=RequestFacts(**facts.keywords(RequestFacts), geo=Geo(**geo)),
        principal=Principal(**principal.keywords(Principal), auth_time=principal.moment("auth_time")),
        source=Source(**fields.inner("source").keywords(Source)),
        namespace=fields.read("namespace", str),
        environment=fields.read("environment", str),
        now=fields.needed("time"),
    )


def absent_from_record(record: Mapping[str, Any]) -> frozenset[EntityRef]:
    """Read which references were looked for and not found; raises ``RecordError`` where that cannot be read."""
    return frozenset(_Fields(record).each("absent", _ref))


def _context(plain: Any) -> ModelContext:
    context = ModelContext.from_dict(plain)
    for value in (context.model, context.entity_id, context.state or "", context.source):
        if not isinstance(value, str):
            raise TypeError(f"{value!r:.80} of a context is no text")
    return context


def _ref(plain: Any) -> EntityRef:
    model, entity_id = plain
    if not isinstance(model, str) or not isinstance(entity_id, str):
        raise TypeError(f"a reference is {plain!r}")
    return EntityRef(model, entity_id)


_WORDS = {str: "text", bool: "true or false", int: "a whole number", list: "a list", dict: "an object"}


class _Fields:
    """Reads the fields of a JSON object, and says which one does not fit."""

    def __init__(self, plain: Any, path: str = "") -> None:
        if not isinstance(plain, Mapping):
            raise RecordError(f"{path[:-1] or 'the line'} is no JSON object")
        self.plain, self.path = plain, path

    def check_format(self) -> None:
        if "format" not in self.plain:
            raise RecordError("no record of a decision: it has no 'format'")
        if self.plain["format"] != FORMAT:
            raise RecordError(f"the record is of format {self.plain['format']!r}; this version reads {FORMAT}")

    def read(self, name: str, kind: type[T]) -> T:
        if name not in self.plain:
            raise RecordError(f"{self.path}{name} is missing")
        value = self.plain[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RecordError(f"{self.path}{name} is {value!r:.80}, not {_WORDS[kind]}")
        return value

    def inner(self, name: str) -> _Fields:
        return _Fields(self.read(name, dict), f"{self.path}{name}.")

    def made(self, name: str, make: Callable[[str], T]) -> T:
        text = self.read(name, str)
        try:
            return make(text)
        except ValueError:
            raise RecordError(f"{self.path}{name} is {text!r:.80}, which is none") from None

    def moment(self, name: str) -> datetime | None:
        if self.plain.get(name) is None:
            return None
        found = self.made(name, datetime.fromisoformat)
        if found.tzinfo is None:
            raise RecordError(f"{self.path}{name} is {self.plain[name]!r}, which names no time zone")
        return found

    def needed(self, name: str) -> datetime:
        found = self.moment(name)
        if found is None:
            raise RecordError(f"{self.path}{name} is missing")
        return found

    def each(self, name: str, make: Callable[[Any], T]) -> list[T]:
        try:
            return [make(one) for one in self.read(name, list)]
        except (ModelError, TypeError, ValueError) as error:
            raise RecordError(f"{self.path}{name} cannot be read: {error!s:.120}") from error

    def keywords(self, value: type[Any]) -> dict[str, Any]:
        """Give the fields that a frozen value is built of."""
        plain, kinds = self.plain, _KINDS[value]
        return {
            name: plain[name] if type(plain.get(name)) is kind else self.typed(name, kind)
            for name, kind in kinds.items()
        }

    def typed(self, name: str, kind: type[Any]) -> Any:
        if kind is not tuple:
            return self.read(name, kind)
        items = self.read(name, list)
        if not all(isinstance(item, str) for item in items):
            raise RecordError(f"{self.path}{name} holds what is no text")
        return tuple(items)
