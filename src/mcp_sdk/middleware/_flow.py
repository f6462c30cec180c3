"""The one flow of a request through enforcement, sans I/O; ASGI, WSGI and the frameworks' own middleware drive it.

admit baggage → principal → references → known contexts → fetch what policies need → decide → admit → outcome. Each step
that fails leaves out what it was to bring, is counted, and the decision is taken all the same: a refusing rule that
cannot be evaluated refuses.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, cast

from opentelemetry import trace

from mcp_sdk.baggage import Admitted, admit
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.current import CallFacts, Record
from mcp_sdk.decision_log import print_decision
from mcp_sdk.decisions import (
    ANONYMOUS,
    NEW_REQUEST,
    NEW_SOURCE,
    Decision,
    DecisionRequest,
    Geo,
    Phase,
    Principal,
    Reason,
    Shed,
    Source,
    Verdict,
)
from mcp_sdk.enforcement import Consult, Fetch, Run, Steps, Wait, adrive, completed, drive, missing, newest
from mcp_sdk.mesh import Mesh
from mcp_sdk.middleware._start import Start
from mcp_sdk.middleware.admission import Buckets, Gate
from mcp_sdk.middleware.arrivals import Arrival
from mcp_sdk.middleware.geo import NOWHERE, GeoDatabase, GeoReader, client_address, parse_geo
from mcp_sdk.middleware.names import EntityNames
from mcp_sdk.middleware.principal import Reader, Unread, scope_user
from mcp_sdk.middleware.routes import Routes
from mcp_sdk.problems import Response, quota_headers, respond
from mcp_sdk.shadow import outcomes
from mcp_sdk.telemetry import annotate

__all__ = ["Enforcer", "Outcome"]

_new: Any = object.__new__
_tuple = tuple.__new__
_INBOUND = Phase.INBOUND
_NOBODY_SPOKE = Admitted()
_FAILED = Decision(Shed(1.0))
MAX_PRINCIPAL = 256


class Outcome(NamedTuple):
    """What became of a request: ``response`` refuses it, None lets it go on with ``record`` as its work.

    ``request`` is what was decided on, None when our own failure kept it from being known. ``began`` is monotonic
    seconds; ``place`` says that it holds one of the service's places, to be given back by ``Enforcer.finish``;
    ``failed`` that the service answered with a status of 500 or more.
    """

    record: Record
    decision: Decision
    request: DecisionRequest | None
    response: Response | None
    began: float
    place: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    failed: bool = False


class _Call:
    """One request on its way to a decision: what it brought, then who calls, and what entities it names."""

    __slots__ = ("admitted", "arrival", "began", "now", "own", "principal", "references", "source", "work")

    principal: Principal
    source: Source
    own: Mapping[str, EntityRef]
    references: dict[str, EntityRef]

    def __init__(self, arrival: Arrival, work: Record, began: float, now: datetime) -> None:
        self.arrival = arrival
        self.work = work
        self.began = began
        self.now = now
        self.admitted = _NOBODY_SPOKE


class Enforcer:
    """Decides on requests for one mesh, and counts them in.

    ``principal`` reads who calls (see ``mcp_sdk.middleware.principal``); ``geo`` reads where an address is, the
    database of ``geo_database`` unless given; ``routes`` gives the routes of the application, which are declared before
    its first request (see ``declare_routes``). Raises ``ConfigurationError`` for a database that cannot be read. Safe
    in threads, on loops and after a fork.
    """

    def __init__(
        self, mesh: Mesh, *, principal: Reader | None = None, geo: GeoReader | None = None, routes: Routes | None = None
    ) -> None:
        self.mesh = mesh
        config = mesh.config
        self._reader = principal if principal is not None else scope_user
        self._geo = geo if geo is not None else GeoDatabase(config.geo_database) if config.geo_database else None
        self._located = self._geo is not None or bool(config.geo_header)
        self._buckets = Buckets(mesh.runtime.clock)
        self._shadow_buckets = Buckets(mesh.runtime.clock)
        self._gate = Gate(config.max_concurrency) if config.max_concurrency > 0 else None
        self._names = EntityNames({}, (), None)
        self._start = Start(mesh, routes)

    # Driving

    def enter(self, arrival: Arrival) -> Outcome:
        """Decide on a request in synchronous code. Raises nothing but warnings about routes that are made errors."""
        if self._start.pid != os.getpid():
            self._start.run()
        try:
            begun = self._begin(arrival)
            return begun if isinstance(begun, Outcome) else drive(self.mesh, begun)
        except Exception as error:  # noqa: BLE001 - a failure of ours is closed, and no crash of the application's
            return self._broken(error)

    async def aenter(self, arrival: Arrival) -> Outcome:
        """Decide on a request on a running asyncio loop. Raises what ``enter`` does."""
        if self._start.pid != os.getpid():
            await self._start.arun()
        try:
            begun = self._begin(arrival)
            return begun if isinstance(begun, Outcome) else await adrive(self.mesh, begun)
        except Exception as error:  # noqa: BLE001 - as above
            return self._broken(error)

    def finish(self, outcome: Outcome, *, failed: bool = False) -> None:
        """Count a request out, once, refused or not: gives its place back and records how long it took.

        ``failed`` says that the service failed it, where the outcome does not say so.
        """
        if outcome.place and self._gate is not None:
            self._gate.leave()
        seconds = self.mesh.runtime.clock.monotonic() - outcome.began
        self.mesh.telemetry.request(seconds, outcome.record.contexts, outcome.decision.verdict.name)
        if outcome.decision.rolled is not None and outcome.response is None:
            self.mesh.control_plane.ended(outcome.decision, failed=failed or outcome.failed)

    def _broken(self, error: Exception) -> Outcome:
        self.mesh.telemetry.failed("enforce", error)
        response = respond(_FAILED) if self.mesh.enforcing else None
        return Outcome(Record(self.mesh), _FAILED, None, response, self.mesh.runtime.clock.monotonic())

    # The flow

    def _begin(self, arrival: Arrival) -> Outcome | Steps[Outcome]:
        """Decide at once; or, where something has to be waited for, give the flow that goes on from there."""
        mesh = self.mesh
        clock = mesh.runtime.clock
        call = _Call(arrival, Record(mesh), clock.monotonic(), clock.now())
        if arrival.baggage:
            call.admitted = self._admit(call)
        principal = self._read(arrival)
        return self._ask(call, principal) if isinstance(principal, Principal) else self._ask_later(call, principal)

    def _ask_later(self, call: _Call, effect: Run | Wait) -> Steps[Outcome]:
        asked = self._ask(call, (yield from self._later(effect)))
        return asked if isinstance(asked, Outcome) else (yield from asked)

    def _ask(self, call: _Call, principal: Principal) -> Outcome | Steps[Outcome]:
        self._identify(call, principal)
        self._name(call)
        request = self._request(call)
        if self.mesh.config.evaluation == "server":
            return self._consult(call, request)
        refs = missing(self.mesh, request) if request.references else ()
        return self._fetch(call, request, refs) if refs else self._conclude(call, request)

    def _consult(self, call: _Call, request: DecisionRequest) -> Steps[Outcome]:
        return self._conclude(call, request, (yield Consult(request)))

    def _fetch(self, call: _Call, request: DecisionRequest, refs: tuple[EntityRef, ...]) -> Steps[Outcome]:
        return self._conclude(call, completed(request, (yield Fetch(refs))))

    def _request(self, call: _Call) -> DecisionRequest:
        identity, arrival = self.mesh.identity, call.arrival
        facts = arrival.facts
        if self._located:
            facts = replace(facts, geo=self._where(arrival, call.source))
        request = _new(NEW_REQUEST)
        request.service = identity.service
        request.operation = facts.operation
        request.phase = _INBOUND
        request.contexts = self._contexts(call)
        request.references = tuple(call.references.values())
        request.request = facts
        request.principal = call.principal
        request.source = call.source
        request.namespace = identity.namespace
        request.environment = identity.environment
        request.now = call.now
        request.__class__ = DecisionRequest
        return cast("DecisionRequest", request)

    def _admit(self, call: _Call) -> Admitted:
        mesh = self.mesh
        try:
            parsed = mesh.codec.parse(call.arrival.baggage, now=call.now.timestamp())
            admitted = admit(parsed, mesh.config.ingress)
        except Exception as error:  # noqa: BLE001 - a header of anybody's must not fail the request: absent
            mesh.telemetry.failed("ingress", error)
            return _NOBODY_SPOKE
        call.work.others = parsed.others
        for problem in parsed.problems:
            mesh.telemetry.dropped("baggage", problem.value)
        for problem, count in admitted.dropped.items():
            mesh.telemetry.dropped("ingress", problem.value, count)
        return admitted

    def _identify(self, call: _Call, principal: Principal) -> None:
        """Find out which peer calls, and for whom."""
        config, identity, arrival, admitted = self.mesh.config, self.mesh.identity, call.arrival, call.admitted
        address = arrival.address
        if config.trusted_proxies:
            address = client_address(address, arrival.facts.headers.get("x-forwarded-for", ""), config.trusted_proxies)
        source = _new(NEW_SOURCE)
        source.service = admitted.peer
        source.namespace = identity.namespace
        source.environment = identity.environment
        source.address = address
        source.verified = admitted.peer_verified
        source.__class__ = Source
        if config.principal_header and not principal.authenticated and self._from_peer(source):
            principal = _named(arrival.facts.headers.get(config.principal_header.lower(), "")) or principal
        call.principal, call.source = principal, source

    def _name(self, call: _Call) -> None:
        """Find out which entities a call names."""
        mesh, names, principal, facts = self.mesh, self._entity_names(), call.principal, call.arrival.facts
        known = principal.authenticated
        own: dict[str, EntityRef] = {}
        if known and principal.id and names.principals:
            own = {name: mesh.models.ref(model, principal.id) for name, model in names.principals.items()}
        references: dict[str, EntityRef] = {}
        for model, entity_id in names.entities(facts.method, facts.path):
            if not model.principal and model.name not in references:
                references[model.name] = mesh.models.ref(model, entity_id)
        for ref in call.admitted.references:
            if ref.model not in names.principals or not known:
                references.setdefault(ref.model, ref)
        if own:
            references.update(own)
        call.own, call.references = own, references

    def _from_peer(self, source: Source) -> bool:
        return source.verified and self.mesh.config.ingress == "mesh"

    def _read(self, arrival: Arrival) -> Principal | Run | Wait:
        """Ask the reader who calls; it may say what has to be waited for first."""
        try:
            found = self._reader(arrival.carrier)
        except Exception as error:  # noqa: BLE001 - the reader is the application's; what it cannot tell is nobody
            return self._nobody(error)
        if isinstance(found, (Principal, Run)):
            return found
        return Wait(found) if found is not None and inspect.isawaitable(found) else ANONYMOUS

    def _later(self, effect: Run | Wait) -> Steps[Principal]:
        try:
            found = yield effect
        except Exception as error:  # noqa: BLE001 - as above
            return self._nobody(error)
        return found if isinstance(found, Principal) else ANONYMOUS

    def _nobody(self, error: Exception) -> Principal:
        if isinstance(error, Unread):
            self.mesh.telemetry.dropped("principal", error.reason)
        else:
            self.mesh.telemetry.failed("principal", error)
        return ANONYMOUS

    def _entity_names(self) -> EntityNames:
        models, operations = self.mesh.models, self.mesh.operations
        version = (models.version, len(operations))
        if self._names.version != version:
            self._names = EntityNames(dict(models), tuple(operations), version)
        return self._names

    def _where(self, arrival: Arrival, source: Source) -> Geo:
        header = self.mesh.config.geo_header
        try:
            if header and self._from_peer(source) and (told := arrival.facts.headers.get(header.lower())):
                return parse_geo(told)
            return self._geo(source.address) if self._geo is not None else NOWHERE
        except Exception as error:  # noqa: BLE001 - a reader of the application's, or a damaged database
            self.mesh.telemetry.failed("geo", error)
            return NOWHERE

    def _contexts(self, call: _Call) -> dict[str, ModelContext]:
        contexts: dict[str, ModelContext] = {}
        for name, context in call.admitted.contexts.items():
            ref = _tuple(EntityRef, (context.model, context.entity_id))
            if self._concerns(ref, call):
                known = self.mesh.known(ref)
                contexts[name] = context if known is None else newest(context, known)
        for name, ref in call.references.items():
            if name not in contexts and (known := self.mesh.known(ref)) is not None:
                contexts[name] = known
        return contexts

    def _concerns(self, ref: EntityRef, call: _Call) -> bool:
        """Tell whether a context that a peer brought is of the entity that the call is about, and of its caller."""
        if ref.model in self._names.principals:
            if not call.principal.authenticated or call.own.get(ref.model) == ref:
                return True
            self.mesh.telemetry.dropped("ingress", "not_the_principal")
            return False
        named = call.references.get(ref.model)
        if named is None or named == ref:
            return True
        self.mesh.telemetry.dropped("ingress", "not_the_entity")
        return False

    def _conclude(self, call: _Call, request: DecisionRequest, answer: Decision | None = None) -> Outcome:
        work, decision, place = call.work, self.mesh.decide(request, answer), False
        work.contexts = dict(request.contexts)
        work.references = call.references
        if decision.shadow is not None and decision.shadow.limits:
            decision = self._spend_in_shadow(request, decision, decision.shadow)
        if decision.limits or self._gate is not None:
            decision, place = self._admission(request, decision) if decision.permitted else (decision, False)
        work.call = CallFacts(request.principal, request.source, decision, request.request, request.operation)
        _annotate(request, decision)
        if not decision.permitted and self.mesh.enforcing:
            return Outcome(work, decision, request, respond(decision), call.began, place)
        headers = quota_headers(map(self._buckets.left, decision.limits)) if decision.limits else ()
        return _tuple(Outcome, (work, decision, request, None, call.began, place, headers, False))

    def _admission(self, request: DecisionRequest, decision: Decision) -> tuple[Decision, bool]:
        gate, priority = self._gate, decision.qos.priority if decision.qos is not None else "normal"
        if gate is not None and not gate.enter(priority):
            reason = Reason("admission", "Admission", effect="shed", detail=f"{gate.capacity} requests run already")
            return self._refused(request, decision, Shed(1.0, priority), reason), False
        throttled = self._buckets.spend(decision.limits) if decision.limits else None
        if throttled is None:
            return decision, gate is not None
        if gate is not None:
            gate.leave()
        return self._refused(request, decision, throttled, throttled.limit.reason), False

    def _spend_in_shadow(self, request: DecisionRequest, decision: Decision, shadow: Decision) -> Decision:
        """Tell whether limits in shadow would have throttled a call; they are counted apart from those in force."""
        throttled = self._shadow_buckets.spend(shadow.limits)
        if throttled is None or not throttled.limit.reason.shadow:
            return decision
        mesh = self.mesh
        spoken = replace(throttled.limit.reason, effect=throttled.name)
        told = replace(decision, shadow=replace(shadow, verdict=throttled, reasons=(spoken, *shadow.reasons)))
        mesh.telemetry.shadows.add((request.phase.value, spoken.policy, spoken.effect))
        self._write(request, told)
        return told

    def _refused(self, request: DecisionRequest, decision: Decision, verdict: Verdict, reason: Reason) -> Decision:
        mesh = self.mesh
        spoken = replace(reason, effect=verdict.name)
        others = tuple(other for other in decision.reasons if other != reason)
        refused = replace(decision, verdict=verdict, reasons=(spoken, *others))
        mesh.telemetry.decisions.add((request.phase.value, spoken.policy, spoken.effect))
        self._write(request, refused)
        return refused

    def _write(self, request: DecisionRequest, decision: Decision) -> None:
        mesh = self.mesh
        mesh.decision_log.write(request, decision, mesh.telemetry, enforced=mesh.enforcing)
        if mesh.config.debug:
            print_decision(request, decision, mesh.telemetry, "enforce" if mesh.enforcing else "observe")


def _named(text: str) -> Principal | None:
    """Give the principal that a verified peer names in its header."""
    if not text or len(text) > MAX_PRINCIPAL or not text.isprintable():
        return None
    return Principal(id=text, authenticated=True)


def _annotate(request: DecisionRequest, decision: Decision) -> None:
    span = trace.get_current_span()
    if not span.is_recording():
        return
    annotate(request.contexts.values())
    span.set_attribute("mcp_sdk.decision.verdict", decision.verdict.name)
    if decision.reasons:
        first = decision.reasons[0]
        span.set_attributes({"mcp_sdk.decision.policy": first.policy, "mcp_sdk.decision.rule": first.rule})
    for reason, outcome in outcomes(decision):
        told = {"outcome": outcome, "policy": reason.policy, "rule": reason.rule}
        span.add_event("mcp_sdk.shadow", {f"mcp_sdk.shadow.{name}": text for name, text in told.items()})
