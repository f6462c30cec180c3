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
from mcp_sdk.decisions import Decision, DecisionRequest, Phase
from mcp_sdk.enforcement import completed
from mcp_sdk.exceptions import ProtocolError, RecordError
from mcp_sdk.pseudonyms import Pseudonyms
from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.live import Live

__all__ = ["Answered", "answer", "plain_answer", "read_question", "thinly"]


@dataclass(frozen=True)
class Answered:
    """A question as it was decided, and its answer. ``absent`` are references that nobody found.

    ``enforced`` is false for a refusal that is not carried out: an operator broke the glass of the service.
    """

    request: DecisionRequest
    decision: Decision
    absent: tuple[EntityRef, ...] = ()
    enforced: bool = True

    @property
    def permitted(self) -> bool:
        """Whether the call may go on, whatever the verdict."""
        return self.decision.permitted or not self.enforced


def read_question(plain: Mapping[str, Any], extras: Mapping[str, Mapping[str, Any]], caller: Caller) -> DecisionRequest:
    """Read a question of the form of ``mcp_sdk.decision_record``; raises a 400 that names what does not fit.

    ``extras`` are what records hide and questions may have: ``request.headers``, ``principal.attributes``…
    """
    try:
        request = request_from_record(plain)
    except RecordError as error:
        raise Fault(400, "not-a-question", str(error)) from error
    return _put_by(caller, _with(request, extras))


def _put_by(caller: Caller, request: DecisionRequest) -> DecisionRequest:
    """Give a question as far as its caller is believed; raises a 403 where the caller may not ask it.

    Where its own calls go is its own question, whoever is called.
    """
    own = caller.service if request.phase is Phase.OUTBOUND else ""
    caller.require(Permission.DECIDE, _scope(request), own or request.service)
    return _believed(request, caller, _scope(request))


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


async def thinly(desk: Desk, caller: Caller, scope: Scope, request: DecisionRequest) -> Decision:
    """Decide what a thin client asks over its stream, which is of one scope.

    The client is told of its override, and shows to taps, itself.

    Raises ``ProtocolError``, a 403 and a 503.
    """
    if _scope(request) != scope:
        raise ProtocolError(f"the question is of {request.namespace}/{request.environment}, the stream of {scope}")
    (answered,) = await answer(desk, [_put_by(caller, request)], shown=False)
    return answered.decision


async def answer(desk: Desk, requests: Sequence[DecisionRequest], *, shown: bool = True) -> list[Answered]:
    """Decide questions in order; entities that policies need are fetched in one look-up a scope.

    ``shown`` to taps they are, unless whoever asks does that.
    """
    found: dict[Scope, Mapping[EntityRef, ModelContext]] = {}
    lives: dict[Scope, Live] = {}
    for scope in dict.fromkeys(Scope(request.namespace, request.environment) for request in requests):
        lives[scope] = live = await desk.live(scope)
        asked = (request for request in requests if (request.namespace, request.environment) == scope)
        needed = dict.fromkeys(ref for request in asked for ref in live.decider.needs(request))
        found[scope] = await desk.store.get(scope, list(needed)) if needed else {}
    decided = [_decided(desk, lives[_scope(request)], request, found[_scope(request)]) for request in requests]
    for one in decided if shown else ():
        _show(lives[_scope(one.request)], one)
    return decided


def _decided(desk: Desk, live: Live, request: DecisionRequest, found: Mapping[EntityRef, ModelContext]) -> Answered:
    began = time.perf_counter()
    needs = live.decider.needs(request)
    request = completed(request, {ref: found[ref] for ref in needs if ref in found})
    decision = live.decider.decide(request)
    live.tally.decided(decision)
    desk.metrics.decided(decision.verdict.name, time.perf_counter() - began)
    absent = tuple(ref for ref in needs if ref not in found)
    return Answered(request, decision, absent, decision.permitted or not live.observes(request.service))


def _show(live: Live, answered: Answered) -> None:
    if live.taps.open:
        live.taps.decided(_record(live, answered), {"server": True})


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
    return asked | plain_decision(answered.decision, enforced=answered.enforced)


def plain_answer(answered: Answered) -> dict[str, Any]:
    """Give an answer: the decision as records have it, what the refusal asks for, and what nobody found."""
    verdict = asdict(answered.decision.verdict)
    details = {name: value for name, value in verdict.items() if name not in ("name", "limit") and value}
    return plain_decision(answered.decision) | {
        "permitted": answered.permitted,
        "enforced": answered.enforced,
        "details": details,
        "absent": [list(ref) for ref in answered.absent],
    }
