"""Questions and answers whole, as plain JSON: for clients that leave the decision to the server.

Unlike the records of the decision log nothing is hidden here: conditions may look at all of it. Reading raises
``ProtocolError`` that says what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.decisions import (
    Decision,
    DecisionRequest,
    Denied,
    Geo,
    Limit,
    Permit,
    Phase,
    Principal,
    Qos,
    Reason,
    RequestFacts,
    ReviewRequired,
    Rolled,
    Route,
    Shed,
    Source,
    StepUpRequired,
)
from mcp_sdk.exceptions import MeshError, ProtocolError
from mcp_sdk.services import Subset

__all__ = ["answer_from_plain", "plain_answer", "plain_question", "question_from_plain"]

T = TypeVar("T")
_VERDICTS = {
    "permit": Permit,
    "deny": Denied,
    "step_up": StepUpRequired,
    "review": ReviewRequired,
    "shed": Shed,
}


def _told(read: Callable[[Any], T]) -> Callable[[Any], T]:
    """Turn what a reader raises into a ``ProtocolError``."""

    @wraps(read)
    def reading(plain: Any) -> T:
        try:
            return read(plain)
        except MeshError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"it cannot be read: {error!r:.120}") from error

    return reading


def plain_question(request: DecisionRequest) -> dict[str, Any]:
    """Give everything that is known of a call."""
    facts, principal = request.request, request.principal
    time = principal.auth_time
    return {
        "service": request.service,
        "operation": request.operation,
        "phase": request.phase.value,
        "contexts": [context.to_dict() for context in request.contexts.values()],
        "references": [list(ref) for ref in request.references],
        "request": _flat(facts) | {"geo": _flat(facts.geo)},
        "principal": _flat(principal) | {"auth_time": time.isoformat() if time is not None else None},
        "source": _flat(request.source),
        "namespace": request.namespace,
        "environment": request.environment,
        "now": request.now.isoformat(),
    }


@_told
def question_from_plain(plain: Any) -> DecisionRequest:
    """Read what ``plain_question`` wrote."""
    facts, principal = dict(plain["request"]), dict(plain["principal"])
    time = principal.pop("auth_time")
    geo = Geo(**facts.pop("geo"))
    for name in ("roles", "scopes"):
        principal[name] = tuple(map(str, principal[name]))
    contexts = [ModelContext.from_dict(each) for each in plain["contexts"]]
    return DecisionRequest(
        service=str(plain["service"]),
        operation=str(plain["operation"]),
        phase=Phase(plain["phase"]),
        contexts={context.model: context for context in contexts},
        references=tuple(EntityRef(str(model), str(entity)) for model, entity in plain["references"]),
        request=RequestFacts(**facts, geo=geo),
        principal=Principal(**principal, auth_time=None if time is None else datetime.fromisoformat(time)),
        source=Source(**plain["source"]),
        namespace=str(plain["namespace"]),
        environment=str(plain["environment"]),
        now=datetime.fromisoformat(plain["now"]),
    )


def plain_answer(decision: Decision) -> dict[str, Any]:
    """Give a decision of an engine, with the keys that limits are counted under and what sticks.

    ``rollout`` says which side made it, while a policy change is rolled out; else it is not there.
    """
    route, shadow, rolled = decision.route, decision.shadow, decision.rolled
    told = {
        "verdict": _flat(decision.verdict),
        "route": None if route is None else _flat(route) | {"subset": _subset(route.subset)},
        "qos": None if decision.qos is None else _flat(decision.qos),
        "advice": dict(decision.advice),
        "limits": [_flat(limit) | {"reason": _flat(limit.reason)} for limit in decision.limits],
        "reasons": [_flat(reason) for reason in decision.reasons],
        "epoch": decision.epoch,
        "revision": decision.revision,
        "shadow": None if shadow is None else plain_answer(shadow),
    }
    return told if rolled is None else told | {"rollout": _plain_rolled(rolled)}


@_told
def answer_from_plain(plain: Any) -> Decision:
    """Read what ``plain_answer`` wrote."""
    verdict = dict(plain["verdict"])
    return Decision(
        verdict=_VERDICTS[verdict.pop("name")](**verdict),
        route=None if plain["route"] is None else _route(plain["route"]),
        qos=None if plain["qos"] is None else Qos(**plain["qos"]),
        advice=dict(plain["advice"]),
        limits=tuple(Limit(**{**limit, "reason": Reason(**limit["reason"])}) for limit in plain["limits"]),
        reasons=tuple(Reason(**reason) for reason in plain["reasons"]),
        epoch=int(plain["epoch"]),
        revision=int(plain["revision"]),
        shadow=None if plain["shadow"] is None else answer_from_plain(plain["shadow"]),
        rolled=None if plain.get("rollout") is None else _rolled(plain["rollout"]),
    )


def _plain_rolled(rolled: Rolled) -> dict[str, Any]:
    other = None if rolled.other is None else plain_answer(rolled.other)
    return {"id": rolled.id, "stage": rolled.stage, "arm": rolled.arm, "other": other}


def _rolled(plain: Mapping[str, Any]) -> Rolled:
    if plain["arm"] not in ("current", "candidate"):
        raise ProtocolError(f"the arm of a rollout is current or candidate, not {plain['arm']!r:.40}")
    other = None if plain["other"] is None else answer_from_plain(plain["other"])
    return Rolled(str(plain["id"]), int(plain["stage"]), plain["arm"], other)


def _route(plain: Mapping[str, Any]) -> Route:
    subset = plain["subset"]
    made = None if subset is None else Subset(subset["version"], subset["labels"])
    return Route(**{**plain, "subset": made})


def _subset(subset: Subset | None) -> dict[str, Any] | None:
    return None if subset is None else {"version": subset.version, "labels": dict(subset.labels)}


def _flat(value: Any) -> dict[str, Any]:
    """Give the fields of a frozen value; mappings and tuples become dicts and lists."""
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: _plain(part) for name, part in found.items()}


def _plain(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _plain(inner) for name, inner in part.items()}
    return list(part) if isinstance(part, tuple) else part
