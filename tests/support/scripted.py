"""A control plane at the port that answers as the test says, and what ASGI and WSGI servers do, by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from mcp_sdk import Decision, DecisionRequest, EntityRef, Mesh, ModelContext, Transition
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Applied, Change, ControlPlane, Page, Probe, Receipt, SigningKey, Status
from mcp_sdk.residue import NEVER, Condition, Residue
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision, Snapshot


def done(value: Any) -> Future[Any]:
    """Give a future that is done."""
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class ScriptedPlane(ControlPlane):
    """Answers every request with ``rule(request)``; ``stored`` is what a fetch finds, ``cache`` what is known."""

    def __init__(self, rule: Callable[[DecisionRequest], Decision] | None = None) -> None:
        self.ends: list[bool] = []
        self.rule = rule or (lambda _: Decision())
        self.requests: list[DecisionRequest] = []
        self.stored: dict[EntityRef, ModelContext] = {}
        self.cache: dict[EntityRef, ModelContext] = {}
        self.looked_at: set[str] = set()
        self.fetched: list[EntityRef] = []
        self.alive: dict[str, tuple[Endpoint, ...]] = {}
        self.published: list[Transition] = []
        self.pending_fetch: Future[Any] | None = None
        self.left: Condition = NEVER
        self.starts = 0
        self.closed = 0

    def ended(self, decision: Decision, *, failed: bool) -> None:
        self.ends.append(failed)

    def start(self, models: Iterable[BusinessModel]) -> Future[None]:
        self.starts += 1
        return done(None)

    def publish(self, transitions: Sequence[Transition]) -> None:
        self.published.extend(transitions)

    def known(self, ref: EntityRef) -> ModelContext | None:
        return self.cache.get(ref)

    def needs(self, request: DecisionRequest) -> tuple[EntityRef, ...]:
        return tuple(
            ref for ref in request.references if ref.model in self.looked_at and ref.model not in request.contexts
        )

    def decide(self, request: DecisionRequest) -> Decision:
        self.requests.append(request)
        return self.rule(request)

    def residue(self, request: DecisionRequest, model: BusinessModel) -> Residue:
        self.requests.append(request)
        return Residue(model, self.left)

    def endpoints(self, service: str) -> tuple[Endpoint, ...]:
        return self.alive.get(service, ())

    def listen(self, models: Iterable[str]) -> None:
        del models

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        return lambda: None

    def fetch(self, refs: Sequence[EntityRef]) -> Future[Mapping[EntityRef, ModelContext]]:
        self.fetched.extend(refs)
        if self.pending_fetch is not None:
            return self.pending_fetch
        return done({ref: self.stored[ref] for ref in refs if ref in self.stored})

    def list(
        self, model: str, *, state: str | None = None, id_prefix: str = "", limit: int = 100, after: str = ""
    ) -> Future[Page]:
        return done(Page(()))

    def register(self, endpoint: Endpoint, *, ttl: float = 15.0) -> Future[None]:
        return done(None)

    def apply(self, revision: PolicyRevision) -> Future[PolicyRevision]:
        return done(revision)

    def policy_history(self, *, limit: int = 50) -> Future[tuple[PolicyRevision, ...]]:
        return done(())

    def history(self, ref: EntityRef, *, limit: int = 100) -> Future[tuple[Applied, ...]]:
        return done(())

    def forget(self, ref: EntityRef) -> Future[Receipt]:
        return done(Receipt(ref, int(self.stored.pop(ref, None) is not None), 0))

    def probe(self) -> Future[Probe]:
        return done(Probe("", datetime.now(UTC), 0.0))

    def policies(self, revision: int | None = None) -> Future[PolicyRevision | None]:
        return done(None)

    def keys(self) -> tuple[SigningKey, ...]:
        return (SigningKey("k1", b"0123456789abcdef0123456789abcdef"),)

    def snapshot(self) -> Snapshot:
        return Snapshot()

    def status(self) -> Status:
        return Status.READY

    def flush(self, timeout: float) -> bool:
        return True

    def close(self, timeout: float) -> None:
        self.closed += 1


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.seconds


def signed(peer: Mesh, *contexts: ModelContext) -> str:
    """Give the baggage header that ``peer`` sends with ``contexts``."""
    return peer.codec.encode(contexts, now=peer.runtime.clock.now().timestamp()).header


def scope_of(
    method: str = "GET", path: str = "/", headers: Iterable[tuple[str, str]] = (), **more: Any
) -> dict[str, Any]:
    """Give an ASGI scope."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    base = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": raw,
        "query_string": b"",
        "client": ("10.0.0.9", 1),
    }
    return base | more


async def call(app: Any, scope: dict[str, Any], *inbound: dict[str, Any]) -> list[dict[str, Any]]:
    """Serve one scope and give the messages that the application sent."""
    sent: list[dict[str, Any]] = []
    queue = list(inbound) or [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return queue.pop(0) if queue else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
