"""Questions that are asked of the server itself: read, completed from the store, answered by what is in force.

What a caller says of its call (who, from where, when) is taken as said: the answer is advice to that caller alone. What
it says of entities is not: contexts count where its token may publish, and are looked up in the store otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mcp_sdk.context import EntityRef, ModelContext, Scope
from mcp_sdk.decision_record import plain_decision, plain_request, request_from_record
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.enforcement import completed
from mcp_sdk.exceptions import RecordError
from mcp_sdk.pseudonyms import Pseudonyms
from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.live import Live

__all__ = ["Answered", "answer", "plain_answer", "read_question"]


@dataclass(frozen=True)
class Answered:
    """A question as it was decided, and its answer. ``absent`` are references that nobody found."""

    request: DecisionRequest
    decision: Decision
    absent: tuple[EntityRef, ...] = ()


def read_question(plain: Mapping[str, Any], extras: Mapping[str, Mapping[str, Any]], caller: Caller) -> DecisionRequest:
    """Read a question of the form of ``mcp_sdk.decision_record``; raises a 400 that names what does not fit.

    ``extras`` are what records hide and questions may have: ``request.headers``, ``principal.attributes``…
    """
    try:
        request = request_from_record(plain)
    except RecordError as error:
        raise Fault(400, "not-a-question", str(error)) from error
    scope = Scope(request.namespace, request.environment)
    caller.require(Permission.DECIDE, scope, request.service)
    return _believed(_with(request, extras), caller, scope)


def _with(request: DecisionRequest, extras: Mapping[str, Mapping[str, Any]]) -> DecisionRequest:
    return replace(
        request,
        request=replace(request.request, **extras.get("request", {})),
        principal=replace(request.principal, **extras.get("principal", {})),
        source=replace(request.source, **extras.get("source", {})),
    )


def _believed(request: DecisionRequest, caller: Caller, scope: Scope) -> DecisionRequest:
    """Take contexts away that the caller may not assert; the entities that they name are looked up instead."""
    sent = request.contexts.values()
    may = caller.may(Permission.PUBLISH, scope, caller.service)
    kept = {context.model: context for context in sent if may and context.trust.counts}
    named = (*request.references, *(context.ref for context in sent if context.model not in kept and context.entity_id))
    return replace(request, contexts=kept, references=tuple(dict.fromkeys(named)))


async def answer(desk: Desk, requests: Sequence[DecisionRequest]) -> list[Answered]:
    """Decide questions in order; entities that policies need are fetched in one look-up a scope."""
    found: dict[Scope, Mapping[EntityRef, ModelContext]] = {}
    lives: dict[Scope, Live] = {}
    for scope in dict.fromkeys(Scope(request.namespace, request.environment) for request in requests):
        lives[scope] = live = await desk.live(scope)
        asked = (request for request in requests if (request.namespace, request.environment) == scope)
        needed = dict.fromkeys(ref for request in asked for ref in live.decider.needs(request))
        found[scope] = await desk.store.get(scope, list(needed)) if needed else {}
    return [_decided(desk, lives[_scope(request)], request, found[_scope(request)]) for request in requests]


def _decided(desk: Desk, live: Live, request: DecisionRequest, found: Mapping[EntityRef, ModelContext]) -> Answered:
    began = time.perf_counter()
    needs = live.decider.needs(request)
    request = completed(request, {ref: found[ref] for ref in needs if ref in found})
    decision = live.decider.decide(request)
    live.tally.decided(decision)
    desk.metrics.decided(decision.verdict.name, time.perf_counter() - began)
    answered = Answered(request, decision, tuple(ref for ref in needs if ref not in found))
    if live.taps.open:
        live.taps.decided(_record(live, answered), {"server": True})
    return answered


def _scope(request: DecisionRequest) -> Scope:
    return Scope(request.namespace, request.environment)


def _record(live: Live, answered: Answered) -> dict[str, Any]:
    """Give the record of a decision, masked as the decision log masks it where ids are pseudonyms."""
    shown = Pseudonyms({}, snapshot=lambda: live.decider.snapshot)
    asked = plain_request(
        answered.request,
        operation=shown.operation(answered.request),
        anonymous=shown.anonymous,
        pseudonymous=shown.used,
        absent=answered.absent,
    )
    return asked | plain_decision(answered.decision)


def plain_answer(answered: Answered) -> dict[str, Any]:
    """Give an answer: the decision as records have it, what the refusal asks for, and what nobody found."""
    verdict = asdict(answered.decision.verdict)
    details = {name: value for name, value in verdict.items() if name not in ("name", "limit") and value}
    return plain_decision(answered.decision) | {
        "permitted": answered.decision.permitted,
        "details": details,
        "absent": [list(ref) for ref in answered.absent],
    }
