"""Fakes at the ports: a control plane that applies at once, a transaction that the test commits or rolls back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition, Trust
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendStatus, Applied, Change, ControlPlane, Cursor, Page, Probe, Receipt, SigningKey, Status
from mcp_sdk.residue import NEVER, Residue
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision, Snapshot


def done(value: Any = None) -> Future[Any]:
    """Give a future that is done."""
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class FakePlane(ControlPlane):
    """Keeps every transition and applies it at once; ``broken`` makes every method raise."""

    def __init__(self) -> None:
        self.published: list[Transition] = []
        self.held: dict[EntityRef, ModelContext] = {}
        self.broken = False
        self.answer = Decision()
        self._subscribers: list[Callable[[Change], None]] = []

    def _alive(self) -> None:
        if self.broken:
            raise RuntimeError("the plane is broken")

    def hold(self, model: str, entity_id: str, state: str, revision: int = 1, **attributes: Any) -> None:
        """Have an entity in the store."""
        context = ModelContext(model, entity_id, state, attributes, revision, trust=Trust.STORE)
        self.held[context.ref] = context

    def start(self, models: Iterable[BusinessModel]) -> Future[None]:
        return done()

    def publish(self, transitions: Sequence[Transition]) -> None:
        self._alive()
        for event in transitions:
            self.published.append(event)
            self._apply(event)

    def _apply(self, event: Transition) -> None:
        before = self.held.get(event.ref) or ModelContext(event.model, event.entity_id, trust=Trust.STORE)
        status = self._status(event, before)
        if status is AppendStatus.APPLIED:
            state = event.to_state if event.to_state is not None else before.state
            before = before.but(
                state=state, attributes={**before.attributes, **event.attributes}, revision=before.revision + 1
            )
            self.held[event.ref] = before
        for tell in list(self._subscribers):
            tell(Change("transition", Cursor(""), applied=Applied(event, status, before)))

    def _status(self, event: Transition, before: ModelContext) -> AppendStatus:
        if event.outcome is Outcome.ABORTED:
            return AppendStatus.LOGGED
        late = event.base_revision is not None and event.base_revision != before.revision
        return AppendStatus.LATE if late else AppendStatus.APPLIED

    def known(self, ref: EntityRef) -> ModelContext | None:
        self._alive()
        return self.held.get(ref)

    def needs(self, request: DecisionRequest) -> tuple[EntityRef, ...]:
        return ()

    def decide(self, request: DecisionRequest) -> Decision:
        self._alive()
        return self.answer

    def residue(self, request: DecisionRequest, model: BusinessModel) -> Residue:
        self._alive()
        return Residue(model, NEVER)

    def endpoints(self, service: str) -> tuple[Endpoint, ...]:
        return ()

    def listen(self, models: Iterable[str]) -> None:
        del models

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def fetch(self, refs: Sequence[EntityRef]) -> Future[Mapping[EntityRef, ModelContext]]:
        self._alive()
        return done({ref: self.held[ref] for ref in refs if ref in self.held})

    def list(self, model: str, **_: Any) -> Future[Page]:
        return done(Page(tuple(context for ref, context in self.held.items() if ref.model == model)))

    def register(self, endpoint: Endpoint, *, ttl: float = 15.0) -> Future[None]:
        return done()

    def policies(self, revision: int | None = None) -> Future[PolicyRevision | None]:
        return done()

    def apply(self, revision: PolicyRevision) -> Future[PolicyRevision]:
        return done(revision)

    def policy_history(self, *, limit: int = 50) -> Future[tuple[PolicyRevision, ...]]:
        return done(())

    def history(self, ref: EntityRef, *, limit: int = 100) -> Future[tuple[Applied, ...]]:
        return done(())

    def forget(self, ref: EntityRef) -> Future[Receipt]:
        return done(Receipt(ref, int(self.held.pop(ref, None) is not None), 0))

    def probe(self) -> Future[Probe]:
        return done(Probe("", datetime.now(UTC), 0.0))

    def keys(self) -> tuple[SigningKey, ...]:
        return ()

    def snapshot(self) -> Snapshot:
        return Snapshot()

    def status(self) -> Status:
        return Status.READY

    def flush(self, timeout: float) -> bool:
        return True

    def close(self, timeout: float) -> None:
        pass


class FakeTransaction:
    """A ``TransactionPort``: outside ``open`` nothing is deferred."""

    def __init__(self) -> None:
        self.open = False
        self.subjects: list[object] = []
        self._waiting: list[Callable[[bool], None]] = []

    def defer(self, subjects: Sequence[object], settle: Callable[[bool], None]) -> bool:
        if self.open:
            self.subjects.extend(subjects)
            self._waiting.append(settle)
        return self.open

    def end(self, *, commit: bool) -> None:
        """Commit or roll back."""
        self.open, waiting = False, self._waiting
        self._waiting = []
        for settle in waiting:
            settle(commit)
