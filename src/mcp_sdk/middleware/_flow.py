"""The one flow of a request through enforcement, sans I/O; ASGI, WSGI and the frameworks' own middleware drive it.

admit baggage → principal → references → known contexts → fetch what policies need → decide → admit → outcome. Each step
that fails leaves out what it was to bring, is counted, and the decision is taken all the same: a refusing rule that
cannot be evaluated refuses.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import NamedTuple

from opentelemetry import trace

from mcp_sdk.baggage import Admitted, admit
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.current import Record
from mcp_sdk.decision_log import print_decision
from mcp_sdk.decisions import (
    ANONYMOUS,
    Decision,
    DecisionRequest,
    Geo,
    Phase,
    Principal,
    Reason,
    RequestFacts,
    Shed,
    Source,
    Verdict,
)
from mcp_sdk.enforcement import Run, Steps, Wait, adrive, drive, newest, resolve
from mcp_sdk.mesh import Mesh
from mcp_sdk.middleware.admission import Buckets, Gate
from mcp_sdk.middleware.arrivals import Arrival
from mcp_sdk.middleware.geo import NOWHERE, GeoDatabase, GeoReader, client_address, parse_geo
from mcp_sdk.middleware.names import EntityNames
from mcp_sdk.middleware.principal import Reader, Unread, scope_user
from mcp_sdk.problems import Response, quota_headers, respond
from mcp_sdk.telemetry import annotate

__all__ = ["Enforcer", "Outcome"]

_NOBODY_SPOKE = Admitted()
_FAILED = Decision(Shed(1.0))
MAX_PRINCIPAL = 256


class Outcome(NamedTuple):
    """What became of a request: ``response`` refuses it, None lets it go on with ``record`` as its work.

    ``request`` is what was decided on, None when our own failure kept it from being known. ``began`` is monotonic
    seconds; ``place`` says that it holds one of the service's places, to be given back by ``Enforcer.finish``.
    """

    record: Record
    decision: Decision
    request: DecisionRequest | None
    response: Response | None
    began: float
    place: bool = False
    headers: tuple[tuple[str, str], ...] = ()


class _Who(NamedTuple):
    """Who calls, from where, and what entities the call names."""

    principal: Principal
    source: Source
    own: Mapping[str, EntityRef]
    references: Mapping[str, EntityRef]


class Enforcer:
    """Decides on requests for one mesh, and counts them in.

    ``principal`` reads who calls (see ``mcp_sdk.middleware.principal``); ``geo`` reads where an address is, the
    database of ``geo_database`` unless given. Raises ``ConfigurationError`` for a database that cannot be read. Safe in
    threads, on loops and after a fork.
    """

    def __init__(self, mesh: Mesh, *, principal: Reader | None = None, geo: GeoReader | None = None) -> None:
        self.mesh = mesh
        config = mesh.config
        self._reader = principal if principal is not None else scope_user
        self._geo = geo if geo is not None else GeoDatabase(config.geo_database) if config.geo_database else None
        self._located = self._geo is not None or bool(config.geo_header)
        self._buckets = Buckets(mesh.runtime.clock)
        self._gate = Gate(config.max_concurrency) if config.max_concurrency > 0 else None
        self._names = EntityNames({}, (), None)
        self._ready_in = 0
        self._starting: asyncio.Future[None] | None = None
        self._start_lock = Lock()

    # Driving

    def enter(self, arrival: Arrival) -> Outcome:
        """Decide on a request in synchronous code. Never raises."""
        if self._ready_in != os.getpid():
            self._start()
        try:
            return drive(self.mesh, self.steps(arrival))
        except Exception as error:  # noqa: BLE001 - a failure of ours is closed, and no crash of the application's
            return self._broken(error)

    async def aenter(self, arrival: Arrival) -> Outcome:
        """Decide on a request on a running asyncio loop. Never raises."""
        if self._ready_in != os.getpid():
            await self._astart()
        try:
            return await adrive(self.mesh, self.steps(arrival))
        except Exception as error:  # noqa: BLE001 - as above
            return self._broken(error)

    def finish(self, outcome: Outcome) -> None:
        """Count a request out, once, refused or not: gives its place back and records how long it took."""
        if outcome.place and self._gate is not None:
            self._gate.leave()
        seconds = self.mesh.runtime.clock.monotonic() - outcome.began
        self.mesh.telemetry.request(seconds, outcome.record.contexts, outcome.decision.verdict.name)

    def _start(self) -> None:
        with self._start_lock:
            alone = not self.mesh.started
            try:
                if self._ready_in != os.getpid():
                    self.mesh.start()
            except Exception as error:  # noqa: BLE001 - the decision that follows is closed
                self.mesh.telemetry.failed("start", error)
            self._started(alone)

    async def _astart(self) -> None:
        if self._starting is None or self._starting.get_loop() is not asyncio.get_running_loop():
            self._starting = asyncio.ensure_future(self._astarted())
        await asyncio.shield(self._starting)

    async def _astarted(self) -> None:
        alone = not self.mesh.started
        try:
            await self.mesh.astart()
        except Exception as error:  # noqa: BLE001 - the decision that follows is closed
            self.mesh.telemetry.failed("start", error)
        self._started(alone)

    def _started(self, alone: bool) -> None:  # noqa: FBT001 - alone: nobody else closes the mesh
        if self._ready_in != os.getpid():
            self._ready_in = os.getpid()
            if alone:
                atexit.register(self.mesh.close)

    def _broken(self, error: Exception) -> Outcome:
        self.mesh.telemetry.failed("enforce", error)
        response = respond(_FAILED) if self.mesh.enforcing else None
        return Outcome(Record(self.mesh), _FAILED, None, response, self.mesh.runtime.clock.monotonic())

    # The flow

    def steps(self, arrival: Arrival) -> Steps[Outcome]:
        """Give the flow of one request."""
        mesh, work = self.mesh, Record(self.mesh)
        began = mesh.runtime.clock.monotonic()
        now = mesh.runtime.clock.now()
        operation = arrival.operation
        admitted = self._admit(arrival, work, now.timestamp()) if arrival.baggage else _NOBODY_SPOKE
        principal = self._read(arrival)
        if not isinstance(principal, Principal):
            principal = yield from self._later(principal)
        who = self._who(arrival, admitted, operation, principal)
        facts = RequestFacts(
            arrival.method,
            arrival.path,
            operation,
            arrival.scheme,
            arrival.host,
            arrival.headers,
            arrival.query,
            arrival.size,
            self._where(arrival, who.source) if self._located else NOWHERE,
        )
        identity = mesh.identity
        request = DecisionRequest(
            identity.service,
            operation,
            Phase.INBOUND,
            self._contexts(admitted, who),
            tuple(who.references.values()),
            facts,
            who.principal,
            who.source,
            identity.namespace,
            identity.environment,
            now,
        )
        if request.references:
            request = yield from resolve(mesh, request)
        return self._conclude(request, work, who, began)

    def _admit(self, arrival: Arrival, work: Record, now: float) -> Admitted:
        dropped = self.mesh.telemetry.dropped
        try:
            parsed = self.mesh.codec.parse(arrival.baggage, now=now)
            admitted = admit(parsed, self.mesh.config.ingress)
        except Exception as error:  # noqa: BLE001 - a header of anybody's must not fail the request: absent
            self.mesh.telemetry.failed("ingress", error)
            return _NOBODY_SPOKE
        work.others = parsed.others
        for problem in parsed.problems:
            dropped("baggage", problem.value)
        for problem, count in admitted.dropped.items():
            dropped("ingress", problem.value, count)
        return admitted

    def _who(self, arrival: Arrival, admitted: Admitted, operation: str, principal: Principal) -> _Who:
        mesh, config, identity = self.mesh, self.mesh.config, self.mesh.identity
        forwarded = arrival.headers.get("x-forwarded-for", "") if config.trusted_proxies else ""
        address = client_address(arrival.address, forwarded, config.trusted_proxies)
        source = Source(admitted.peer, identity.namespace, identity.environment, address, admitted.peer_verified)
        if not principal.authenticated and config.principal_header and self._from_peer(source):
            principal = _named(arrival.headers.get(config.principal_header.lower(), "")) or principal
        names = self._entity_names()
        own: dict[str, EntityRef] = {}
        if principal.authenticated and principal.id:
            own = {name: mesh.models.ref(model, principal.id) for name, model in names.principals.items()}
        references: dict[str, EntityRef] = {}
        for model, entity_id in names.entities(operation):
            if not model.principal:
                references.setdefault(model.name, mesh.models.ref(model, entity_id))
        for ref in admitted.references:
            if ref.model not in names.principals or not principal.authenticated:
                references.setdefault(ref.model, ref)
        references.update(own)
        return _Who(principal, source, own, references)

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
            if header and self._from_peer(source) and (told := arrival.headers.get(header.lower())):
                return parse_geo(told)
            return self._geo(source.address) if self._geo is not None else NOWHERE
        except Exception as error:  # noqa: BLE001 - a reader of the application's, or a damaged database
            self.mesh.telemetry.failed("geo", error)
            return NOWHERE

    def _contexts(self, admitted: Admitted, who: _Who) -> dict[str, ModelContext]:
        contexts: dict[str, ModelContext] = {}
        for name, context in admitted.contexts.items():
            if self._concerns(context, who):
                contexts[name] = self._newest(context, context.ref)
        for name, ref in who.references.items():
            if name not in contexts and (known := self.mesh.known(ref)) is not None:
                contexts[name] = known
        return contexts

    def _concerns(self, context: ModelContext, who: _Who) -> bool:
        """Tell whether a context that a peer brought is of the entity that the call is about, and of its caller."""
        if context.model in self._names.principals:
            if not who.principal.authenticated or who.own.get(context.model) == context.ref:
                return True
            self.mesh.telemetry.dropped("ingress", "not_the_principal")
            return False
        named = who.references.get(context.model)
        return named is None or named == context.ref

    def _newest(self, held: ModelContext, ref: EntityRef) -> ModelContext:
        known = self.mesh.known(ref)
        return newest(held, known) if known is not None else held

    def _conclude(self, request: DecisionRequest, work: Record, who: _Who, began: float) -> Outcome:
        work.contexts = dict(request.contexts)
        work.references = dict(who.references)
        decided = self.mesh.decide(request)
        decision, place = self._admission(request, decided) if decided.permitted else (decided, False)
        call = work.call
        call.principal, call.source, call.decision = request.principal, request.source, decision
        call.request, call.operation = request.request, request.operation
        _annotate(request, decision)
        refused = self.mesh.enforcing and not decision.permitted
        headers = quota_headers(map(self._buckets.left, decision.limits)) if decision.limits and not refused else ()
        return Outcome(work, decision, request, respond(decision) if refused else None, began, place, headers)

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

    def _refused(self, request: DecisionRequest, decision: Decision, verdict: Verdict, reason: Reason) -> Decision:
        mesh = self.mesh
        spoken = replace(reason, effect=verdict.name)
        others = tuple(other for other in decision.reasons if other != reason)
        refused = replace(decision, verdict=verdict, reasons=(spoken, *others))
        mesh.telemetry.decisions.add((request.phase.value, spoken.policy, spoken.effect))
        mesh.decision_log.write(request, refused, mesh.telemetry)
        if mesh.config.debug:
            print_decision(request, refused)
        return refused


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
