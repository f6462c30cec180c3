"""OpenID AuthZEN, Authorization API 1.0: what its words mean here.

See https://openid.net/specs/authorization-api-1_0.html.

    subject   the principal, authenticated; also an entity of the principal's model
    action    the operation: ``METHOD /path``, or a name, which is asked as a method's is (``AccessPolicy`` alone)
    resource  an entity that the call names: type is the model, id its id
    context   facts of the request: time, ip_address, method, path, scheme, host, headers, query, geo

The target service is the context's ``service``, else the token's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.decisions import (
    Decision,
    DecisionRequest,
    Denied,
    Geo,
    Phase,
    Principal,
    RequestFacts,
    ReviewRequired,
    Source,
    StepUpRequired,
)
from mcp_sdk.models import BusinessModel
from mcp_sdk.server.faults import Fault

__all__ = ["DENY_FIRST", "PERMIT_FIRST", "plain_evaluation", "question"]

DENY_FIRST, PERMIT_FIRST = "deny_on_first_deny", "permit_on_first_permit"
_TEXTS = ("method", "path", "scheme", "host")


def question(
    plain: Mapping[str, Any], scope: Scope, models: Mapping[str, BusinessModel], *, service: str
) -> DecisionRequest:
    """Give the question that an evaluation asks; ``service`` is the token's. Raises a 400 for what does not fit."""
    context, action = plain.get("context") or {}, plain["action"]
    operation = action["name"]
    return DecisionRequest(
        service=_text(context, "service") or service or _nowhere(),
        operation=operation,
        phase=Phase.INBOUND if " /" in operation else Phase.METHOD,
        references=tuple(_references(plain, models)),
        request=_facts(context, operation),
        principal=_principal(plain["subject"]),
        source=Source(address=_text(context, "ip_address")),
        namespace=scope.namespace,
        environment=scope.environment,
        now=_moment(context, "time") or datetime.now(UTC),
    )


def _references(plain: Mapping[str, Any], models: Mapping[str, BusinessModel]) -> list[EntityRef]:
    """Give the entities that a call names: the resource, and the subject as an entity of each principal's model."""
    subject, resource = plain["subject"], plain["resource"]
    principals = [model.name for model in models.values() if model.principal]
    named = [subject["type"]] if subject["type"] in principals else principals
    found = {model: EntityRef(model, subject["id"]) for model in named}
    return list((found | {resource["type"]: EntityRef(resource["type"], resource["id"])}).values())


def _facts(context: Mapping[str, Any], operation: str) -> RequestFacts:
    method, space, path = operation.partition(" ")
    said = {name: text for name in _TEXTS if (text := _text(context, name))}
    of_operation: dict[str, Any] = {"method": method, "path": path} if space else {}
    geo = context.get("geo")
    texts = geo if isinstance(geo, Mapping) else {}
    return RequestFacts(
        **(of_operation | said),
        operation=operation,
        headers={name.lower(): value for name, value in _texts(context, "headers").items()},
        query=_texts(context, "query"),
        geo=Geo(**{one.name: _text(texts, one.name) for one in fields(Geo)}),
    )


def _principal(subject: Mapping[str, Any]) -> Principal:
    held = subject.get("properties") or {}
    known = ("roles", "scopes", "mfa", "acr", "auth_time")
    facts = {name: _fact(value) for name, value in held.items() if name not in known}
    return Principal(
        id=subject["id"],
        authenticated=True,
        type=subject["type"],
        roles=_list(held, "roles"),
        scopes=_list(held, "scopes"),
        mfa=held.get("mfa") is True,
        acr=_text(held, "acr"),
        auth_time=_moment(held, "auth_time"),
        attributes={name: fact for name, fact in facts.items() if fact is not None},
    )


def _fact(value: Any) -> Any:
    """Give a value as conditions can use it, or None."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    fits = isinstance(value, (str, bool)) or (isinstance(value, int) and abs(value) < 2**63)
    return value if fits else None


def _text(held: Mapping[str, Any], name: str) -> str:
    value = held.get(name, "")
    if not isinstance(value, str):
        raise Fault(400, "invalid", f"{name} is text")
    return value


def _texts(held: Mapping[str, Any], name: str) -> dict[str, str]:
    value = held.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise Fault(400, "invalid", f"{name} is an object of texts")
    return value


def _list(held: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = held.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Fault(400, "invalid", f"{name} is a list of texts")
    return tuple(value)


def _moment(held: Mapping[str, Any], name: str) -> datetime | None:
    text = _text(held, name)
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Fault(400, "invalid", f"{name} is a moment (RFC 3339), not {text[:40]!r}") from error


def _nowhere() -> str:
    raise Fault(400, "no-service", "say which service is meant: context.service, or ask with a token of that service")


def plain_evaluation(decision: Decision, *, enforced: bool = True) -> dict[str, Any]:
    """Give the Decision object of the specification; the context says why, to whom it concerns, and what would help.

    A refusal that is not ``enforced`` is a true decision; its context names the verdict, and says so.
    """
    context: dict[str, Any] = {"revision": decision.revision}
    verdict, code = decision.verdict, "200" if decision.permitted else _code(decision)
    if decision.reasons:
        context["reason_admin"] = {code: decision.sentence()}
    if isinstance(verdict, (Denied, StepUpRequired, ReviewRequired)) and verdict.message:
        context["reason_user"] = {code: verdict.message}
    if isinstance(verdict, StepUpRequired):
        context |= {"acr_values": verdict.acr} if verdict.acr else {}
        context |= {"max_age": verdict.max_age} if verdict.max_age is not None else {}
    if isinstance(verdict, ReviewRequired):
        context["review"] = {"by": verdict.by}
    if decision.advice:
        context["advice"] = dict(decision.advice)
    if not enforced:
        context |= {"enforced": False, "verdict": verdict.name}
    return {"decision": decision.permitted or not enforced, "context": context}


def _code(decision: Decision) -> str:
    return "401" if isinstance(decision.verdict, StepUpRequired) else "403"
