"""The one flow of an outgoing call, sans I/O: decide, choose an endpoint, sign baggage, attempt, try again.

It yields ``Fetch`` (see ``mcp_sdk.enforcement``), ``Attempt`` and ``Pause``; a driver answers an attempt with what its
library calls a response, or with a ``Failure``.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context
from opentelemetry import propagate

from mcp_sdk import baggage, current
from mcp_sdk.context import ModelContext
from mcp_sdk.current import Record
from mcp_sdk.decisions import Decision, DecisionRequest, Phase, Refused, RequestFacts, Route, Source
from mcp_sdk.enforcement import Consult, Fetch, ask, believed, resolve
from mcp_sdk.exceptions import NoEndpoint
from mcp_sdk.facts import RawHeaders
from mcp_sdk.mesh import Mesh
from mcp_sdk.services import Endpoint, Subset
from mcp_sdk.transports.endpoints import Balancer

__all__ = ["Attempt", "Failure", "Outbound", "Outgoing", "Pause", "Sent", "only_ours"]

Headers = list[tuple[bytes, bytes]]
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that may be sent again (RFC 9110 section 9.2.2)."""

PAUSE = 0.025
"""Seconds that the first pause before trying one endpoint again lasts at most; each further one twice as long."""

_ANY = Subset()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call as the application made it. ``replayable`` says that its body can be sent twice."""

    method: str
    scheme: str
    host: str
    path: str
    operation: str
    headers: Headers
    query: Mapping[str, str]
    replayable: bool = True


class Attempt(NamedTuple):
    """Send the call with these headers: to ``endpoint``, or to where it says itself; ``timeout`` is in seconds."""

    endpoint: Endpoint | None
    headers: Headers
    timeout: float | None = None


class Pause(NamedTuple):
    """Wait for some seconds."""

    seconds: float


class Failure(NamedTuple):
    """An attempt without a response: ``unsent`` when surely nothing was sent, ``broken`` when the connection failed."""

    error: Exception
    unsent: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """The end of a call: the library's response, and, where the mesh decided, on what and to which endpoint."""

    response: Any
    decision: Decision | None = None
    endpoint: Endpoint | None = None
    attempts: int = 1


Calls = Generator[Fetch | Consult | Attempt | Pause, Any, Sent]


class Outbound:
    """Sends calls for one mesh. ``retries`` is how many further attempts a call may take."""

    def __init__(self, mesh: Mesh, *, retries: int = 2, rng: random.Random | None = None) -> None:
        self.mesh = mesh
        self.retries = max(0, retries)
        self.balancer = Balancer(mesh.runtime.clock, rng=rng)
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._egress = frozenset(host.lower() for host in mesh.config.egress_hosts)
        self._services: set[str] = set()

    def ours(self, host: str) -> bool:
        """Tell whether a host is the mesh's: one of its services, or one of ``egress_hosts``."""
        return host in self._egress or self._is_service(host)

    def _is_service(self, host: str) -> bool:
        if host not in self._services and self.mesh.control_plane.endpoints(host):
            self._services.add(host)
        return host in self._services

    def steps(self, call: Outgoing) -> Calls:
        """Give the flow of one call. It raises ``NoEndpoint``, ``Refused``, or the error of the last attempt."""
        work = current.record() or Record(self.mesh)
        if self._is_service(call.host):
            return (yield from self._to_service(call, work))
        if call.host in self._egress:
            headers = self._headers(call, work) if self.mesh.watching else call.headers
            return (yield from self._once(call, headers))
        return (yield from self._once(call, _stripped(call.headers)))

    def _once(self, call: Outgoing, headers: Headers) -> Calls:
        answer = yield Attempt(None, headers)
        if isinstance(answer, Failure):
            if answer.unsent and _could_be_service(call.host):
                raise NoEndpoint(call.host, "") from answer.error
            raise answer.error
        return Sent(answer)

    def _to_service(self, call: Outgoing, work: Record) -> Calls:
        decision = (yield from self._decide(call, work)) if self.mesh.watching else None
        try:
            sent = yield from self._routed(call, work, decision)
        except Exception:
            self._ended(decision, failed=True)
            raise
        status = getattr(sent.response, "status_code", None)
        self._ended(decision, failed=isinstance(status, int) and status >= 500)
        return sent

    def _routed(self, call: Outgoing, work: Record, decision: Decision | None) -> Calls:
        endpoints = self._endpoints(call.host, decision.route if decision is not None else None)
        headers = self._headers(call, work) if self.mesh.watching else call.headers
        return (yield from self._attempts(call, endpoints, headers, decision))

    def _ended(self, decision: Decision | None, *, failed: bool) -> None:
        if decision is not None and decision.rolled is not None:
            self.mesh.control_plane.ended(decision, failed=failed)

    def _decide(self, call: Outgoing, work: Record) -> Generator[Fetch | Consult, Any, Decision]:
        mesh = self.mesh
        request = yield from resolve(mesh, self._request(call, work))
        for model, context in request.contexts.items():
            work.contexts.setdefault(model, context)  # what was looked up to route the call, the call carries
        decision = yield from ask(mesh, request)
        if not decision.permitted and mesh.enforcing:
            raise Refused(decision)
        return decision

    def _request(self, call: Outgoing, work: Record) -> DecisionRequest:
        mesh, identity = self.mesh, self.mesh.identity
        headers, geo = RawHeaders(call.headers), work.call.request.geo
        facts = RequestFacts(
            call.method, call.path, call.operation, call.scheme, call.host, headers, call.query, geo=geo
        )
        return DecisionRequest(
            service=call.host,
            operation=call.operation,
            phase=Phase.OUTBOUND,
            contexts=believed(mesh, work.contexts),
            references=tuple(work.references.values()),
            request=facts,
            principal=work.call.principal,
            source=Source(identity.service, identity.namespace, identity.environment, verified=True),
            namespace=identity.namespace,
            environment=identity.environment,
            now=mesh.runtime.clock.now(),
        )

    def _endpoints(self, service: str, route: Route | None) -> tuple[Endpoint, ...]:
        alive = tuple(each for each in self.mesh.control_plane.endpoints(service) if each.weight > 0)
        subset = route.subset if route is not None and route.subset is not None else _ANY
        chosen = tuple(each for each in alive if subset.matches(each))
        if chosen:
            return chosen
        self.mesh.telemetry.dropped("egress", "no_endpoint")
        if alive and not self.mesh.enforcing:
            return alive
        raise NoEndpoint(service, "" if subset is _ANY else str(subset), {_describe(each) for each in alive})

    def _attempts(
        self, call: Outgoing, endpoints: Sequence[Endpoint], headers: Headers, decision: Decision | None
    ) -> Calls:
        clock, balancer = self.mesh.runtime.clock, self.balancer
        timeout = decision.route.timeout if decision is not None and decision.route is not None else None
        deadline = None if timeout is None else clock.monotonic() + timeout
        tried: list[str] = []
        attempts = 0
        while True:
            endpoint = balancer.choose(endpoints, tried)
            if endpoint is None:
                yield Pause(self._rng.uniform(0, PAUSE * 2 ** (attempts - 1)))
                tried.clear()
                continue
            attempts += 1
            left = None if deadline is None else max(0.001, deadline - clock.monotonic())
            answer = yield from self._attempt(Attempt(endpoint, headers, left))
            if not isinstance(answer, Failure):
                return Sent(answer, decision, endpoint, attempts)
            tried.append(endpoint.url)
            late = deadline is not None and clock.monotonic() >= deadline
            if attempts > self.retries or late or not _may_retry(call, answer):
                raise answer.error

    def _attempt(self, attempt: Attempt) -> Generator[Attempt, Any, Any]:
        """Attempt once; an attempt that brings no response gives its endpoint back, also when it is cancelled."""
        assert attempt.endpoint is not None
        answer: Any = None
        try:
            answer = yield attempt
        finally:
            if answer is None or isinstance(answer, Failure):
                dead = isinstance(answer, Failure) and (answer.unsent or answer.broken)
                self.balancer.end(attempt.endpoint, dead=dead)
                if dead:
                    self.mesh.telemetry.dropped("egress", "endpoint_failed")
        return answer

    # Headers

    def _headers(self, call: Outgoing, work: Record) -> Headers:
        """Give the call's headers, our baggage signed anew and the trace's as OpenTelemetry's propagators write it."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        written = {name.lower(): text for name, text in carrier.items()}
        lines = [value for name, value in call.headers if name.lower() == b"baggage"]
        others = baggage.merged(baggage.foreign(lines), work.others)
        if "baggage" in written:
            others = baggage.merged(others, baggage.foreign([written.pop("baggage")]))
        written |= self._told(work)
        signed = self._signed(work.contexts, others, self.mesh.runtime.clock.now())
        if signed:
            written["baggage"] = signed
        replaced = {*written, "baggage", *self._reserved(work)}
        kept = [(name, value) for name, value in call.headers if name.decode("latin-1").lower() not in replaced]
        return kept + [(name.encode("ascii"), text.encode("latin-1", "replace")) for name, text in written.items()]

    def _signed(self, contexts: Mapping[str, ModelContext], others: Sequence[str], now: datetime) -> str:
        try:
            encoded = self.mesh.codec.encode(contexts.values(), now=now.timestamp(), others=others)
        except Exception as error:  # noqa: BLE001 - a call without context is better than no call
            self.mesh.telemetry.failed("egress", error)
            return ",".join(others)
        for problem, count in encoded.dropped.items():
            self.mesh.telemetry.dropped("egress", problem.value, count)
        return encoded.header

    def _told(self, work: Record) -> dict[str, str]:
        """Give the headers by which a verified peer tells the caller's id and country, where they are configured."""
        config, call = self.mesh.config, work.call
        told: dict[str, str] = {}
        if config.principal_header and call.principal.authenticated and call.principal.id.isascii():
            told[config.principal_header.lower()] = call.principal.id
        if config.geo_header and (country := call.request.geo.country):
            region = call.request.geo.region
            told[config.geo_header.lower()] = f"{country}-{region}" if region else country
        return {name: text for name, text in told.items() if text.isprintable()}

    def _reserved(self, work: Record) -> tuple[str, ...]:
        """Give the headers that are this service's own word to its peers: what its caller sent in them ends here."""
        if not work.call.operation:
            return ()
        return tuple(name.lower() for name in (self.mesh.config.principal_header, self.mesh.config.geo_header) if name)


def _stripped(headers: Headers) -> Headers:
    """Give headers for a host that is not the mesh's: members of ours are taken out, others' stay."""
    if not any(name.lower() == b"baggage" for name, _ in headers):
        return headers
    others = baggage.foreign([value for name, value in headers if name.lower() == b"baggage"])
    kept = [(name, value) for name, value in headers if name.lower() != b"baggage"]
    return kept + ([(b"baggage", ",".join(others).encode("ascii"))] if others else [])


def _could_be_service(host: str) -> bool:
    return "." not in host and ":" not in host and host != "localhost"


def _describe(endpoint: Endpoint) -> str:
    return str(Subset(endpoint.version, endpoint.labels))


def _may_retry(call: Outgoing, failure: Failure) -> bool:
    if failure.unsent:
        return True
    return failure.broken and call.method in IDEMPOTENT and call.replayable


@contextmanager
def only_ours(ours: bool) -> Iterator[None]:  # noqa: FBT001 - one fact about the host
    """Keep OpenTelemetry's instrumentation underneath from writing over the ``baggage`` that was decided on.

    Its propagator sends the baggage of the current context to any host, our members too when it extracted them. Inside
    this block that baggage is empty towards our hosts (what it held is merged already), and free of our members towards
    others.
    """
    held = otel_baggage.get_all()
    if not held or not (ours or any(name.startswith(baggage.PREFIX) for name in held)):
        yield
        return
    context = otel_baggage.clear()
    if not ours:
        for name, value in held.items():
            if not name.startswith(baggage.PREFIX):
                context = otel_baggage.set_baggage(name, value, context)
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)
