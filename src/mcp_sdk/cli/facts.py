"""Facts written on the command line (``order.state=created``, ``principal.mfa=true``) made into a decision request.

Beside the fields of models and fixed variables: ``request.headers.x-tenant=eu``, ``request.query.q=1``,
``principal.attributes.level=3`` (JSON, else text), ``now=2026-11-22T12:00:00+00:00``, and ``order.rev=7+`` for a change
on top of revision 7 that is not stored yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mcp_sdk.context import ModelContext, Trust
from mcp_sdk.decisions import DecisionRequest, Geo, Principal, RequestFacts, Source
from mcp_sdk.exceptions import ConfigurationError, ModelError, UnknownModel, did_you_mean
from mcp_sdk.models import Attribute, BusinessModel, Value

__all__ = ["attribute_value", "decision_request"]

FIXED: dict[str, type[Any]] = {"principal": Principal, "source": Source, "request": RequestFacts, "request.geo": Geo}
MAPS = {"request.headers": "headers", "request.query": "query", "principal.attributes": "attributes"}
BOOLEANS = {"true": True, "false": False}
NOW = "now"
REVISION = re.compile(r"(\d{1,18})(\+?)")


def decision_request(
    request: DecisionRequest, written: Sequence[str], models: Mapping[str, BusinessModel]
) -> DecisionRequest:
    """Add facts to a request; raises ``ConfigurationError`` or ``ModelError`` that names the nearest valid name."""
    grouped: dict[str, dict[str, str]] = {}
    for fact in written:
        subject, name, value = _split(fact)
        grouped.setdefault(subject, {})[name] = value
    for subject, values in grouped.items():
        request = _add(request, subject, values, models)
    return request


def _split(fact: str) -> tuple[str, str, str]:
    path, equals, value = fact.partition("=")
    held = next((name for name in MAPS if path.startswith(f"{name}.")), "")
    if held or path == NOW:
        return held or NOW, path[len(held) + 1 :] if held else NOW, value
    subject, dot, name = path.rpartition(".")
    if not (equals and dot and subject and name):
        raise ConfigurationError(f"{fact!r} is no fact; write NAME.FIELD=VALUE, e.g. order.state=created")
    return subject, name, value


def _add(
    request: DecisionRequest, subject: str, values: Mapping[str, str], models: Mapping[str, BusinessModel]
) -> DecisionRequest:
    if subject == NOW:
        return replace(request, now=_moment(NOW, values[NOW]))
    if subject in MAPS:
        return _with_map(request, subject, values)
    if subject == "request.geo":
        return replace(request, request=replace(request.request, geo=_filled(Geo(), subject, values)))
    if subject in FIXED:
        return replace(request, **{subject: _filled(getattr(request, subject), subject, values)})
    if subject not in models:
        raise UnknownModel(subject, [*models, *FIXED])
    context = _context(models[subject], values)
    return replace(request, contexts={**request.contexts, subject: context})


def _with_map(request: DecisionRequest, subject: str, values: Mapping[str, str]) -> DecisionRequest:
    owner, name = subject.partition(".")[0], MAPS[subject]
    before = getattr(request, owner)
    read: Mapping[str, Any] = values
    if name == "headers":
        read = {header.lower(): value for header, value in values.items()}
    elif name == "attributes":
        read = {claim: _json_or_text(value) for claim, value in values.items()}
    return replace(request, **{owner: replace(before, **{name: {**getattr(before, name), **read}})})


def _json_or_text(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (str, int, bool, list)) else text


def _filled(before: Any, subject: str, values: Mapping[str, str]) -> Any:
    kinds = {spec.name: str(spec.type) for spec in fields(FIXED[subject])}
    return replace(before, **{name: _read(subject, name, kinds, text) for name, text in values.items()})


def _read(subject: str, name: str, kinds: Mapping[str, str], text: str) -> Any:
    if name not in kinds:
        raise ConfigurationError(f"{subject} has no field {name!r}.{did_you_mean(name, kinds)}")
    if kinds[name] == "bool":
        return _boolean(f"{subject}.{name}", text)
    if kinds[name].startswith("tuple"):
        return tuple(filter(None, text.split(",")))
    if kinds[name].startswith("datetime"):
        return _moment(f"{subject}.{name}", text)
    return _integer(f"{subject}.{name}", text) if kinds[name] == "int" else text


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}={text!r}: write a moment as 2026-11-22T12:00:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in BOOLEANS:  # as it is printed, True, it may come back
        raise ConfigurationError(f"{name}={text!r}: write true or false")
    return BOOLEANS[text.lower()]


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}={text!r}: write a whole number") from error


def _items(_: str, text: str) -> list[str]:
    return list(filter(None, text.split(",")))


_READERS: dict[str, Callable[[str, str], Any]] = {"int": _integer, "bool": _boolean, "list": _items}
_FITS = {
    "int": "a whole number of 64 bits",
    "double": "a number, e.g. 0.5",
    "decimal": "a number, e.g. 250.00",
    "timestamp": "a moment, e.g. 2026-11-22T12:00:00+00:00",
}


def _context(model: BusinessModel, values: Mapping[str, str]) -> ModelContext:
    state = values.get("state")
    attributes = {name: text for name, text in values.items() if name not in ("id", "state", "rev")}
    revision = REVISION.fullmatch(values.get("rev", "1"))
    if revision is None:
        raise ConfigurationError(
            f"{model.name}.rev={values['rev']!r}: write a number, with + while a change is tentative"
        )
    return ModelContext(
        model.name,
        values.get("id", ""),
        model.check_state(state) if state is not None else None,
        dict(_attributes(model, attributes)),
        revision=int(revision[1]),
        tentative=bool(revision[2]),
        trust=Trust.STORE,
    )


def _attributes(model: BusinessModel, values: Mapping[str, str]) -> Iterable[tuple[str, Any]]:
    return ((name, attribute_value(model, name, text)) for name, text in values.items())


def attribute_value(model: BusinessModel, name: str, text: str) -> Value:
    """Read an attribute's value as a person writes it, 250.00; raises ``ConfigurationError`` that says what fits."""
    if name not in model.attributes:
        raise ConfigurationError(f"{model.name} has no attribute {name!r}.{did_you_mean(name, model.attributes)}")
    path, kind = f"{model.name}.{name}", model.attributes[name].type
    raw = _READERS[kind](path, text) if kind in _READERS else text
    try:
        return _exact(path, text, model.attributes[name], model.attributes[name].capture(raw))
    except ModelError as error:
        fits = _FITS.get(kind, "another value")
        raise ConfigurationError(
            f"{path}={text!r}: the attribute is declared {kind}, and this is none; write {fits}"
        ) from error


def _exact(path: str, text: str, attribute: Attribute, value: Value) -> Value:
    """Give a value as it was captured; raises ``ConfigurationError`` where that rounded what was written."""
    if attribute.type == "decimal" and isinstance(value, int):
        nearest = Decimal(value).scaleb(-attribute.scale)
        if nearest != Decimal(text):
            raise ConfigurationError(
                f"{path}={text!r}: the attribute has {attribute.scale} digits after the point; write {nearest}"
            )
    return value
