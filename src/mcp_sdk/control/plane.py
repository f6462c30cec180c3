"""What every control plane with a thread of its own has in common: the session of this process does the work.

``start`` returns at once. Until a first snapshot was there, ``status`` is ``UNAVAILABLE`` and no policy is known:
``decide`` permits everything and gives no reason, and whoever asks must decide what that means to it (the middleware's
flow does). Once a snapshot was there, it stays in force while its source is away (``STALE``); what is published waits
in the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, ModelContext, Transition
from mcp_sdk.control.cache import ContextCache
from mcp_sdk.control.decider import Decider
from mcp_sdk.control.fetcher import Fetcher
from mcp_sdk.control.loop import CLOSED, LoopThread, PerProcess
from mcp_sdk.control.publisher import Publisher
from mcp_sdk.control.trial import Tally
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Applied, Change, ControlPlane, Identity, Page, Probe, Receipt, SigningKey, Status
from mcp_sdk.residue import Residue
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import Override, PolicyRevision, Snapshot
from mcp_sdk.telemetry import Telemetry

__all__ = ["PlaneSession", "SessionControlPlane", "Shared"]

CLOSING = 0.5
Tap = Callable[[Callable[[dict[str, Any]], None] | None], None]


@dataclass
class Shared:
    """What outlives a fork: settings, policies in force, what was learned last. All of it is swapped whole."""

    identity: Identity
    config: Config
    telemetry: Telemetry
    decider: Decider = field(default_factory=Decider)
    models: tuple[BusinessModel, ...] = ()
    endpoints: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    keys: tuple[SigningKey, ...] = ()
    subscribers: tuple[Callable[[Change], None], ...] = ()
    heard: frozenset[str] = frozenset()
    override: Override | None = None
    started: bool = False
    learned: bool = False
    on_tap: Tap = field(default=lambda _: None)

    def tell(self, change: Change) -> None:
        """Tell a change to every subscriber; one that fails does not keep it from the others."""
        for callback in self.subscribers:
            try:
                callback(change)
            except Exception as error:  # noqa: BLE001 - as said
                self.telemetry.failed("subscriber", error)

    def put_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Put the endpoints that are alive in the place of those known."""
        services: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            services.setdefault(endpoint.service, []).append(endpoint)
        self.endpoints = {name: tuple(found) for name, found in services.items()}


class PlaneSession(Protocol):
    """One process's part of a control plane: the thread, and what runs on it. Coroutines run on ``loop``."""

    loop: LoopThread
    cache: ContextCache
    publisher: Publisher
    fetcher: Fetcher
    tally: Tally
    begun: bool

    @property
    def status(self) -> Status:
        """How fresh the policies in force are."""

    @property
    def why(self) -> str:
        """What keeps them from being fresh; empty where nothing does, or is known."""

    def begin(self) -> None:
        """Start the thread and what runs on it; calling it again does nothing."""

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Put transitions on top of the cache, and queue them."""

    async def first(self) -> None:
        """Wait for the first snapshot; raises what makes waiting for it useless."""

    async def declare(self) -> None:
        """Tell of models that were declared after the beginning."""

    async def apply(self, revision: PolicyRevision) -> PolicyRevision:
        """Put a policy set in force."""

    async def register(self, endpoint: Endpoint, ttl: float) -> None:
        """Announce an endpoint and keep its lease until the end."""

    async def list(self, model: str, *, state: str | None, id_prefix: str, limit: int, after: str) -> Page:
        """List entities of a model."""

    async def policies(self, revision: int | None) -> PolicyRevision | None:
        """Look a revision of the policy set up."""

    async def policy_history(self, limit: int) -> tuple[PolicyRevision, ...]:
        """Give the revisions of the policy set."""

    async def history(self, ref: EntityRef, limit: int) -> tuple[Applied, ...]:
        """Give the last transitions of an entity."""

    async def forget(self, ref: EntityRef) -> Receipt:
        """Erase an entity."""

    async def probe(self) -> Probe:
        """Write a record and take it away."""

    def listen(self) -> None:
        """Hear of the transitions of the models in ``Shared.heard`` too; runs on ``loop``."""

    async def end(self) -> None:
        """Stop what runs, and let go of what was announced."""


class SessionControlPlane(ControlPlane):
    """Decides in this process; a session does what waits.

    Work runs on one daemon thread per process, begun by ``start`` or by the first call that needs the store. After a
    fork the child begins its own with an empty queue; policies and endpoints that the parent knew hold until it has
    learned anew, and endpoints that the parent registered stay the parent's.
    """

    def __init__(self, shared: Shared, session: Callable[[], PlaneSession]) -> None:
        self._shared = shared
        self._sessions = PerProcess(session, self._forked)

    def start(self, models: Iterable[BusinessModel]) -> Future[None]:
        """Begin work; done with the first snapshot.

        Its exception is what makes waiting useless: ``StoreError`` for a store that is not ours or too new,
        ``PolicyError`` for policies that cannot be loaded. A store that is merely away is waited for. Called again, it
        declares further models.
        """
        again, self._shared.started = self._shared.started, True
        declared = {model.name: model for model in (*self._shared.models, *models)}
        self._shared.models = tuple(declared.values())
        session = self._begun()
        if again:
            return session.loop.submit(session.declare)
        return session.loop.submit(session.first)

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Queue transitions; they are known here from now on. What does not fit is dropped and counted."""
        if transitions:
            self._begun().publish(transitions)

    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that this process knows, its own unstored changes included.

        None where a newer one may be stored that nobody told of.
        """
        return self._sessions.get().cache.known(ref)

    def last_known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that was ever known, for a change to stand on."""
        return self._sessions.get().cache.last_known(ref)

    def needs(self, request: DecisionRequest) -> tuple[EntityRef, ...]:
        """Tell which references the policies in force look at, and nobody has brought."""
        return self._shared.decider.needs(request)

    def decide(self, request: DecisionRequest) -> Decision:
        """Answer by the policies in force, with the contexts in hand."""
        self._revive()
        return self._shared.decider.decide(request)

    def residue(self, request: DecisionRequest, model: BusinessModel) -> Residue:
        """Tell of which entities of a model the policies in force would permit a request."""
        self._revive()
        return self._shared.decider.residue(request, model)

    def _revive(self) -> None:
        """Begin work in a child of the process that was started."""
        session = self._sessions.get()
        if not session.begun and self._shared.started:
            session.begin()

    def decided(self, decision: Decision) -> None:
        """Count a decision of a rollout."""
        self._sessions.get().tally.decided(decision)

    def ended(self, decision: Decision, *, failed: bool) -> None:
        """Count how a call of a rollout ended."""
        self._sessions.get().tally.ended(decision, failed=failed)

    def endpoints(self, service: str) -> tuple[Endpoint, ...]:
        """Give the endpoints of a service, or of all, whose lease ran when last looked at."""
        if not service:
            return tuple(endpoint for found in self._shared.endpoints.values() for endpoint in found)
        return self._shared.endpoints.get(service, ())

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Have the changes of this scope told to ``callback`` on the plane's thread, where nothing may wait."""
        self._shared.subscribers = (*self._shared.subscribers, callback)

        def unsubscribe() -> None:
            self._shared.subscribers = tuple(kept for kept in self._shared.subscribers if kept is not callback)

        return unsubscribe

    @property
    def override(self) -> Override | None:
        """What an operator put this service into, which may be over."""
        return self._shared.override

    def listen(self, models: Iterable[str]) -> None:
        """Have every transition of some models told to subscribers."""
        wanted = self._shared.heard | set(models)
        if wanted != self._shared.heard:
            self._shared.heard = wanted
            session = self._sessions.get()
            if session.begun:
                session.loop.call(session.listen)

    def on_tap(self, tap: Tap) -> None:
        """Have ``tap`` told whom to show decisions to while somebody looks on, and None when nobody does."""
        self._shared.on_tap = tap

    def fetch(self, refs: Sequence[EntityRef]) -> Future[Mapping[EntityRef, ModelContext]]:
        """Look entities up in the store; its exception is ``StoreUnavailable``."""
        answer: Future[Mapping[EntityRef, ModelContext]] = Future()
        session = self._begun()
        if not session.loop.call(session.fetcher.want, tuple(refs), answer):
            answer.set_exception(StoreUnavailable(CLOSED))
        return answer

    def list(
        self, model: str, *, state: str | None = None, id_prefix: str = "", limit: int = 100, after: str = ""
    ) -> Future[Page]:
        """List entities of a model as the store holds them, ordered by id."""
        session = self._begun()
        return session.loop.submit(
            lambda: session.list(model, state=state, id_prefix=id_prefix, limit=limit, after=after)
        )

    def register(self, endpoint: Endpoint, *, ttl: float = 15.0) -> Future[None]:
        """Announce an endpoint and renew its lease every third of ``ttl`` seconds until ``close``."""
        session = self._begun()
        return session.loop.submit(lambda: session.register(endpoint, ttl))

    def apply(self, revision: PolicyRevision) -> Future[PolicyRevision]:
        """Put a compiled policy set in force; its exception: ``RevisionConflict``, or why it cannot be loaded."""
        session = self._begun()
        return session.loop.submit(lambda: session.apply(revision))

    def policies(self, revision: int | None = None) -> Future[PolicyRevision | None]:
        """Look a revision of the policy set up in the store; None when there is none."""
        session = self._begun()
        return session.loop.submit(lambda: session.policies(revision))

    def policy_history(self, *, limit: int = 50) -> Future[tuple[PolicyRevision, ...]]:
        """Give the revisions of the policy set, newest first, without their programs."""
        session = self._begun()
        return session.loop.submit(lambda: session.policy_history(limit))

    def history(self, ref: EntityRef, *, limit: int = 100) -> Future[tuple[Applied, ...]]:
        """Give the last transitions of an entity, oldest first."""
        session = self._begun()
        return session.loop.submit(lambda: session.history(ref, limit))

    def forget(self, ref: EntityRef) -> Future[Receipt]:
        """Erase an entity from the store, and from what is known here."""
        session = self._begun()
        return session.loop.submit(lambda: session.forget(ref))

    def probe(self) -> Future[Probe]:
        """Write a record to the store and take it away again; its exception is why that is not possible."""
        session = self._begun()
        return session.loop.submit(session.probe)

    def keys(self) -> tuple[SigningKey, ...]:
        """Give the signing keys of the store, newest first."""
        return self._shared.keys

    def snapshot(self) -> Snapshot:
        """Give the snapshot in force."""
        return self._shared.decider.snapshot

    def status(self) -> Status:
        """Tell how fresh the answers are."""
        return self._sessions.get().status

    @property
    def why(self) -> str:
        """What keeps the answers from being fresh; empty where nothing does, or is known."""
        return self._sessions.get().why

    def flush(self, timeout: float) -> bool:
        """Wait until what was published is stored; tell whether it is."""
        return self._sessions.get().publisher.flush(timeout)

    def close(self, timeout: float) -> None:
        """Flush and stop within ``timeout`` seconds; what is not stored by then is dropped and counted."""
        deadline = time.monotonic() + timeout
        session = self._sessions.get()
        session.publisher.close(max(timeout - CLOSING, timeout / 2))
        if session.begun:
            with suppress(TimeoutError, StoreUnavailable):
                session.loop.submit(session.end).result(max(deadline - time.monotonic(), 0))
        session.loop.stop(max(deadline - time.monotonic(), CLOSING))

    def _begun(self) -> PlaneSession:
        session = self._sessions.get()
        if not session.begun:
            session.begin()
        return session

    def _forked(self, parent: PlaneSession) -> None:
        left = parent.publisher.size
        if left:
            self._shared.telemetry.dropped("publisher", "forked", left)
