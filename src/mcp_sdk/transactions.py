"""Transitions and the database transaction around them: they wait for its outermost commit, die with its rollback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mcp_sdk import telemetry as spans
from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition

if TYPE_CHECKING:
    from mcp_sdk.current import Record
    from mcp_sdk.ports import ControlPlane, TransactionPort
    from mcp_sdk.telemetry import Telemetry

__all__ = ["Publication", "Publisher", "submit"]


class Publisher(Protocol):
    """What a publication needs of the mesh."""

    telemetry: Telemetry
    transaction_ports: list[TransactionPort]

    @property
    def control_plane(self) -> ControlPlane:
        """The plane that publishes."""

    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that this process knows."""


def submit(mesh: Publisher, work: Record, transitions: Sequence[Transition], subjects: Sequence[object]) -> None:
    """Publish, or defer to the commit of the transaction that the caller is in.

    ``transitions`` are one at least. Never raises: what fails is counted, and the business call goes on.
    """
    try:
        if not mesh.transaction_ports or not Publication(mesh, work, tuple(transitions)).defer(subjects):
            mesh.control_plane.publish(transitions)
            if transitions[0].trace_id:
                _announce(transitions)
    except Exception as error:  # noqa: BLE001 - capture never breaks the business call
        mesh.telemetry.failed("publish", error)


def publish(mesh: Publisher, transitions: Sequence[Transition]) -> None:
    """Hand transitions to the control plane, and put them on the current span."""
    if not transitions:
        return
    mesh.control_plane.publish(transitions)
    _announce(transitions)


def _announce(transitions: Sequence[Transition]) -> None:
    for event in transitions:
        spans.span_event(event)


class Publication:
    """Some transitions that wait for the transaction that the caller is in."""

    __slots__ = ("_mesh", "_transitions", "_work")

    def __init__(self, mesh: Publisher, work: Record, transitions: tuple[Transition, ...]) -> None:
        self._mesh = mesh
        self._work = work
        self._transitions = transitions

    def defer(self, subjects: Sequence[object]) -> bool:
        """Have what commits wait for the transaction; False, and nothing done, outside any."""
        committed = [event for event in self._transitions if event.outcome is Outcome.COMMITTED]
        if not committed or not self._deferred_by_port(subjects):
            return False
        publish(self._mesh, [event for event in self._transitions if event.outcome is Outcome.ABORTED])
        self._work.pending.extend(committed)
        return True

    def _deferred_by_port(self, subjects: Sequence[object]) -> bool:
        settle = _once(self._settle)
        return any(port.defer(subjects, settle) for port in self._mesh.transaction_ports)

    def _settle(self, committed: bool) -> None:  # noqa: FBT001 - as the port calls it
        mine = {event.event_id for event in self._transitions}
        waiting = [event for event in self._work.pending if event.event_id in mine]
        self._work.pending[:] = [event for event in self._work.pending if event.event_id not in mine]
        try:
            publish(self._mesh, waiting) if committed else self._withdraw(waiting)
        except Exception as error:  # noqa: BLE001 - called from inside the database library's commit
            self._mesh.telemetry.failed("publish", error)

    def _withdraw(self, transitions: Sequence[Transition]) -> None:
        self._mesh.telemetry.dropped("transaction", "rolled_back", len(transitions))
        for event in transitions:
            held = self._work.contexts.get(event.model)
            if held is not None and held.entity_id == event.entity_id:
                self._work.restore(event.model, self._mesh.known(event.ref))


def _once(settle: Callable[[bool], None]) -> Callable[[bool], None]:
    called: list[bool] = []

    def call(committed: bool) -> None:  # noqa: FBT001 - as above
        if not called:
            called.append(committed)
            settle(committed)

    return call
