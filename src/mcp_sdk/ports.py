"""The two ports: ``ControlPlane`` answers, ``Store`` remembers.

A control plane is synchronous and never blocks; what may wait returns a ``concurrent.futures.Future``, so one
implementation serves synchronous and asynchronous callers. A store is asynchronous only, and lives on a control
plane's loop thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NewType, Protocol

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.residue import Residue
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import Override, PolicyRevision, Snapshot

__all__ = [
    "AppendResult",
    "AppendStatus",
    "Applied",
    "Change",
    "Clock",
    "ControlPlane",
    "Cursor",
    "Identity",
    "Page",
    "Probe",
    "Receipt",
    "Record",
    "SigningKey",
    "Status",
    "Store",
    "TransactionPort",
]

Cursor = NewType("Cursor", str)
"""An opaque position in a store's stream of changes."""


class Clock(Protocol):
    """Where time comes from, so that tests may choose it."""

    def now(self) -> datetime:
        """Give the current time in UTC."""

    def monotonic(self) -> float:
        """Give seconds that never go backwards."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is: what it signs, registers and publishes as."""

    service: str
    mesh: str = "default"
    namespace: str = "default"
    environment: str = "default"
    instance: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""

    @property
    def scope(self) -> Scope:
        """The namespace and environment."""
        return Scope(self.namespace, self.environment)


class AppendStatus(Enum):
    """What a store did with one transition.

    ``APPLIED`` is the entity's new revision; ``DUPLICATE`` was applied before under the same event id; ``LATE`` lost
    the compare-and-set, or its batch did: it is in the log, and changed nothing; ``LOGGED`` is an aborted call,
    recorded only.
    """

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    LATE = "late"
    LOGGED = "logged"


@dataclass(frozen=True, slots=True)
class AppendResult:
    """The outcome of one transition: ``revision`` is the entity's revision after it.

    ``since`` is the seconds that the entity spent in the state which it left, where it left one.
    """

    status: AppendStatus
    revision: int
    since: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Applied:
    """A transition as the log holds it, with its outcome and the entity's context after it."""

    transition: Transition
    status: AppendStatus
    context: ModelContext


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a watch.

    ``kind`` is ``transition``, ``policies``, ``models``, ``services``, ``keys``, ``records``, ``audit``, ``forgotten``
    or ``resync``. ``applied`` is there for transitions; ``ref`` for what was forgotten; ``record`` is the kind of the
    record that was written or deleted. Resuming from ``cursor`` misses nothing
    after it. ``resync`` says that the store no longer holds all that came after the position asked for (too old, or
    of another database): drop what was learned by watching, read again what matters, and go on from its cursor.
    """

    kind: str
    cursor: Cursor
    scope: Scope = Scope()  # noqa: RUF009 - a named tuple is frozen
    applied: Applied | None = None
    ref: EntityRef | None = None
    record: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A small named document that the replicas of a control plane share: a token, an override, a lease, a rollout.

    ``content`` is plain JSON. ``revision`` counts how often it was written, from 1; 0 stands before the first time.
    """

    kind: str
    name: str
    content: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing, by entity id; ``after`` continues it and is empty at the end."""

    contexts: tuple[ModelContext, ...]
    after: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What ``forget`` erased: counts of contexts and of transitions; ``by`` is who asked, where a server knows it."""

    ref: EntityRef
    contexts: int
    transitions: int
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a control plane says of itself, when it wrote a record to its store and took it away again.

    ``version`` is of the software that stands before the store, ``protocol`` the versions of the stream that it speaks
    (none without a server), ``time`` its clock, ``written`` the seconds that writing and removing took. ``key`` is the
    public key that it signs snapshots with, as hex; empty without a server.
    """

    version: str
    time: datetime
    written: float
    protocol: tuple[int, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of a ring: ``kid`` names it on the wire, ``secret`` is at least 16 bytes and is never shown."""

    kid: str
    secret: bytes = field(repr=False)


class TransactionPort(Protocol):
    """How an ORM says when a database transaction is over. Integrations fill it and hand it to ``Mesh.on_commit``."""

    def defer(self, subjects: Sequence[object], settle: Callable[[bool], None]) -> bool:
        """Have ``settle`` called when the transaction that the caller is in is over.

        ``settle(True)`` at its outermost commit, ``settle(False)`` when it rolls back; only the first call counts.
        ``subjects`` are the objects that changed. Gives False, and calls nothing, outside a transaction.
        """


class Status(Enum):
    """Whether a control plane can answer from what is fresh, from the last good snapshot, or not at all."""

    READY = "ready"
    STALE = "stale"
    UNAVAILABLE = "unavailable"


class ControlPlane(ABC):
    """The port to decisions. Every method returns at once and is safe to call from any thread.

    Implementations are found by the scheme of a URL in the entry-point group ``mcp_sdk.control_planes``: a callable
    ``(url, *, identity: Identity, config: Config, telemetry: Telemetry) -> ControlPlane``.
    """

    @abstractmethod
    def start(self, models: Iterable[BusinessModel]) -> Future[None]:
        """Begin work: declare this service's models, learn the policies; done when the first snapshot is there."""

    @abstractmethod
    def publish(self, transitions: Sequence[Transition]) -> None:
        """Queue transitions for the store, at least once and in order.

        Never raises; what does not fit is dropped and counted.
        """

    @abstractmethod
    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that this process knows, its own unstored changes included.

        None where a newer one may be stored that nobody told of: decisions are made by it.
        """

    def last_known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that was ever known, for a change to stand on: its revision is checked.

        A plane that is told of every change need not tell them apart.
        """
        return self.known(ref)

    @abstractmethod
    def needs(self, request: DecisionRequest) -> tuple[EntityRef, ...]:
        """Tell which of the request's references a policy in force looks at, and nobody has brought."""

    @abstractmethod
    def decide(self, request: DecisionRequest) -> Decision:
        """Answer with the contexts in hand. Pure: no I/O, no waiting, no counting."""

    @property
    def override(self) -> Override | None:
        """What an operator put this process's service into (break-glass), which may be over; None, as here, nothing."""
        return None

    @property
    def why(self) -> str:
        """What keeps the answers from being fresh, with its mend; empty where nothing does or, as here, is known."""
        return ""

    def decided(self, decision: Decision) -> None:
        """Hear that a decision was made that is part of a rollout (``Decision.rolled``); nobody counts it here."""
        del decision

    def ended(self, decision: Decision, *, failed: bool) -> None:
        """Hear how a call ended whose decision is part of a rollout: ``failed`` for an error of the service."""
        del decision, failed

    def consult(self, request: DecisionRequest) -> Future[Decision] | None:
        """Have a question decided elsewhere; None, as here, where ``decide`` answers it."""
        del request
        return None

    @abstractmethod
    def residue(self, request: DecisionRequest, model: BusinessModel) -> Residue:
        """Tell of which entities of ``model`` a request would be permitted, everything else being known. Pure.

        ``request.operation`` may be a template whose one parameter is the entity's id (``GET /orders/{order}``); raises
        ``ConfigurationError`` for any other. Nothing is permitted where no policy speaks of the call.
        """

    @abstractmethod
    def endpoints(self, service: str) -> tuple[Endpoint, ...]:
        """Give the live endpoints of a service, as last heard; those of every service for an empty name."""

    @abstractmethod
    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Have changes told to ``callback`` on the plane's own thread; the returned function ends that.

        All but the transitions are told; of these, all of the models that were named to ``listen``, others perhaps.
        """

    @abstractmethod
    def listen(self, models: Iterable[str]) -> None:
        """Have every transition of some models told to subscribers, from now on."""

    def on_tap(self, tap: Callable[[Callable[[dict[str, Any]], None] | None], None]) -> None:
        """Have ``tap`` told whom to show decisions to while somebody looks on, and None when nobody does.

        A plane that nobody can look on at does nothing.
        """
        del tap

    @abstractmethod
    def fetch(self, refs: Sequence[EntityRef]) -> Future[Mapping[EntityRef, ModelContext]]:
        """Look entities up in the store; what does not exist is missing from the answer."""

    @abstractmethod
    def list(
        self, model: str, *, state: str | None = None, id_prefix: str = "", limit: int = 100, after: str = ""
    ) -> Future[Page]:
        """List entities of a model by state and id prefix, ordered by id."""

    @abstractmethod
    def register(self, endpoint: Endpoint, *, ttl: float = 15.0) -> Future[None]:
        """Announce an endpoint of this process and keep its lease of ``ttl`` seconds renewed until ``close``."""

    @abstractmethod
    def apply(self, revision: PolicyRevision) -> Future[PolicyRevision]:
        """Put a policy set in force; ``revision.revision`` is the one it replaces, else ``RevisionConflict``.

        Its ``models`` are declared before, once all is checked; ``ModelError`` where they contradict what is declared.
        """

    @abstractmethod
    def policies(self, revision: int | None = None) -> Future[PolicyRevision | None]:
        """Look a revision of the policy set up, sources and author too; the current one unless said."""

    @abstractmethod
    def policy_history(self, *, limit: int = 50) -> Future[tuple[PolicyRevision, ...]]:
        """Give the revisions of the policy set, newest first, without their programs."""

    @abstractmethod
    def history(self, ref: EntityRef, *, limit: int = 100) -> Future[tuple[Applied, ...]]:
        """Give the last transitions of an entity, oldest first, the late and aborted ones included."""

    @abstractmethod
    def forget(self, ref: EntityRef) -> Future[Receipt]:
        """Erase an entity from contexts and transitions; whoever holds it hears ``forgotten`` and drops it."""

    @abstractmethod
    def probe(self) -> Future[Probe]:
        """Write a record to the store, take it away again, and tell how that went."""

    @abstractmethod
    def keys(self) -> tuple[SigningKey, ...]:
        """Give the signing keys that the store shares, newest first; empty when it shares none."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Give the snapshot in force."""

    @abstractmethod
    def status(self) -> Status:
        """Tell how fresh the answers are."""

    @abstractmethod
    def flush(self, timeout: float) -> bool:
        """Wait until all that was published is stored, ``timeout`` seconds at most; tell whether it is.

        The one call that waits.
        """

    @abstractmethod
    def close(self, timeout: float) -> None:
        """Flush and stop, within ``timeout`` seconds altogether."""


class Store(ABC):
    """The port to persistence, asynchronous only.

    Implementations are found by the scheme of a URL in the entry-point group ``mcp_sdk.stores``: a callable ``(url:
    str, *, poll_interval: float) -> Store``. ``mcp_sdk.testing.StoreSuite`` is the test that each must pass. Every
    method may raise ``StoreUnavailable``; a ``StoreError`` that is none says that asking again will not help; nothing
    else is raised unless it says so. To ``append``, what keeps this process out is ``StoreDenied``.
    ``shared`` tells whether other processes see what is stored here.
    """

    shared: bool = True

    @abstractmethod
    async def open(self) -> None:
        """Connect and bring the schema up to date."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything. May be called twice."""

    @abstractmethod
    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Apply transitions in order, durably when this returns; one result each.

        Compare-and-set by ``base_revision``; a batch is applied whole or not; an event id seen in the last 24 hours
        changes nothing. Revisions of an entity are gap-free.
        """

    @abstractmethod
    async def get(self, scope: Scope, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        """Look entities up; what does not exist is missing from the answer. Trust is ``STORE``."""

    @abstractmethod
    async def list(
        self,
        scope: Scope,
        model: str,
        *,
        state: str | None = None,
        id_prefix: str = "",
        limit: int = 100,
        after: str = "",
    ) -> Page:
        """List entities of a model, ordered by id, that are in ``state`` and whose id starts with ``id_prefix``."""

    @abstractmethod
    async def history(self, scope: Scope, ref: EntityRef, *, limit: int = 100) -> tuple[Applied, ...]:
        """Give the last transitions of an entity, oldest first, the late and aborted ones included."""

    @abstractmethod
    async def cursor(self) -> Cursor:
        """Give the position after the newest change."""

    @abstractmethod
    def watch(self, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every change after a position, in order, missing none, until the iterator is closed or the store is."""

    @abstractmethod
    async def put_models(
        self, scope: Scope, models: Sequence[BusinessModel], *, held: Sequence[BusinessModel] | None = None
    ) -> bool:
        """Declare models; a later declaration of a name replaces the earlier. Tells whether they are stored now.

        With ``held``, the models as they were read, they are stored only where each that changes is stored as ``held``
        has it: all of them, or none.
        """

    @abstractmethod
    async def models(self, scope: Scope) -> tuple[BusinessModel, ...]:
        """Give the declared models of a scope."""

    @abstractmethod
    async def put_policies(self, scope: Scope, policies: PolicyRevision) -> PolicyRevision:
        """Store the next revision of a scope's policy set; ``policies.revision`` is the one it replaces (0 at first).

        Raises ``RevisionConflict`` when another revision is current.
        """

    @abstractmethod
    async def policies(self, scope: Scope, revision: int | None = None) -> PolicyRevision | None:
        """Give one revision of the policy set, or the current one; None when there is none."""

    @abstractmethod
    async def policy_history(self, scope: Scope, *, limit: int = 50) -> tuple[PolicyRevision, ...]:
        """Give the revisions, newest first, without their programs."""

    @abstractmethod
    async def register(self, scope: Scope, endpoint: Endpoint, *, ttl: float) -> None:
        """Announce an endpoint or renew its lease for ``ttl`` seconds; its key is service and url."""

    @abstractmethod
    async def deregister(self, scope: Scope, endpoint: Endpoint) -> None:
        """Take an endpoint away."""

    @abstractmethod
    async def endpoints(self, scope: Scope) -> tuple[Endpoint, ...]:
        """Give every endpoint whose lease has not run out, in order of registration."""

    @abstractmethod
    async def put_key(self, scope: Scope, key: SigningKey) -> None:
        """Add a signing key as the newest."""

    @abstractmethod
    async def keys(self, scope: Scope) -> tuple[SigningKey, ...]:
        """Give the signing keys, newest first."""

    @abstractmethod
    async def put_record(self, scope: Scope, record: Record) -> Record:
        """Write a record; ``record.revision`` is the one it replaces (0 at first). Gives it with its new revision.

        Raises ``RevisionConflict`` when another revision is current.
        """

    @abstractmethod
    async def delete_record(self, scope: Scope, record: Record) -> None:
        """Delete a record of that revision; one that is gone already is no error, and a new one begins at 1 again.

        Raises ``RevisionConflict`` when another revision is current.
        """

    @abstractmethod
    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        """Give the records of a kind, by name in the order of code points."""

    @abstractmethod
    async def append_audit(self, number: int, entry: str) -> None:
        """Add an entry to the one audit log of the mesh, durably; ``number`` counts them from 1 without gaps.

        Raises ``RevisionConflict`` when ``number`` is not the next. Watchers hear of it in the scope ``MESH``.
        """

    @abstractmethod
    async def audit(self, *, after: int = 0, limit: int = 1000) -> tuple[str, ...]:
        """Give the entries that come after number ``after``, in order. They are never erased."""

    @abstractmethod
    async def retain(self, scope: Scope, model: str, before: datetime) -> int:
        """Erase entities of a model whose last change is older than ``before``, transitions too; tell how many."""

    @abstractmethod
    async def forget(self, scope: Scope, ref: EntityRef) -> Receipt:
        """Erase an entity from contexts and transitions, and tell every watcher."""
