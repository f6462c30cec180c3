"""Transitions and the database transaction around them: they wait for its outermost commit and die with its rollback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mcp_sdk import telemetry as spans
from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition

if TYPE_CHECKING:
    from mcp_sdk.current import Record
    from mcp_sdk.ports import ControlPlane, TransactionPort
    from mcp_sdk.telemetry import Telemetry

__all__ = ["Publication", "Publisher"]


class Publisher(Protocol):
    """What a publication needs of the mesh."""

    telemetry: Telemetry
    transaction_ports: list[TransactionPort]

    @property
    def control_plane(self) -> ControlPlane:
        """The plane that publishes."""

    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that this process knows."""


class Publication:
    """Some transitions on their way out: at once, or when the transaction that the caller is in commits."""

    __slots__ = ("_mesh", "_transitions", "_work")

    def __init__(self, mesh: Publisher, work: Record, transitions: tuple[Transition, ...]) -> None:
        self._mesh = mesh
        self._work = work
        self._transitions = transitions

    def submit(self, subjects: Sequence[object]) -> None:
        """Publish or defer. Never raises: what fails is counted, and the business call goes on."""
        try:
            if not self._defer(subjects):
                self._publish(self._transitions)
        except Exception as error:  # noqa: BLE001 - capture never breaks the business call
            self._mesh.telemetry.failed("publish", error)

    def _defer(self, subjects: Sequence[object]) -> bool:
        if not self._mesh.transaction_ports:
            return False
        committed = [event for event in self._transitions if event.outcome is Outcome.COMMITTED]
        if not committed or not self._deferred_by_port(subjects):
            return False
        self._publish([event for event in self._transitions if event.outcome is Outcome.ABORTED])
        self._work.pending.extend(committed)
        return True

    def _deferred_by_port(self, subjects: Sequence[object]) -> bool:
        settle = _once(self._settle)
        return any(port.defer(subjects, settle) for port in self._mesh.transaction_ports)

    def _settle(self, committed: bool) -> None:
        mine = {event.event_id for event in self._transitions}
        waiting = [event for event in self._work.pending if event.event_id in mine]
        self._work.pending[:] = [event for event in self._work.pending if event.event_id not in mine]
        try:
            self._publish(waiting) if committed else self._withdraw(waiting)
        except Exception as error:  # noqa: BLE001 - called from inside the database library's commit
            self._mesh.telemetry.failed("publish", error)

    def _publish(self, transitions: Sequence[Transition]) -> None:
        if not transitions:
            return
        self._mesh.control_plane.publish(transitions)
        if transitions[0].trace_id:
            for event in transitions:
                spans.span_event(event)

    def _withdraw(self, transitions: Sequence[Transition]) -> None:
        self._mesh.telemetry.dropped("transaction", "rolled_back", len(transitions))
        for event in transitions:
            held = self._work.contexts.get(event.model)
            if held is not None and held.entity_id == event.entity_id:
                self._work.restore(event.model, self._mesh.known(event.ref))


def _once(settle: Callable[[bool], None]) -> Callable[[bool], None]:
    called: list[bool] = []

    def call(committed: bool) -> None:
        if not called:
            called.append(committed)
            settle(committed)

    return call
