"""A mesh that remembers what a test made it do, with ids and a clock that the test can foretell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mcp_sdk import current
from mcp_sdk.clock import Runtime
from mcp_sdk.config import from_env
from mcp_sdk.context import EntityRef, Outcome, Transition
from mcp_sdk.decisions import Decision, DecisionRequest, Reason
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import BusinessModel
from mcp_sdk.shadow import outcomes
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.testing.runtime import FakeClock, SequentialIds

__all__ = ["Captured", "Decided", "RecordingMesh", "recording_mesh"]

PATIENCE = 5.0


class Decided(NamedTuple):
    """A question and its answer."""

    request: DecisionRequest
    decision: Decision


class Captured:
    """What a test made a mesh do: transitions and decisions, in order.

    A transition is here as soon as the business call ends, whether or not the database transaction around it ever
    commits.
    """

    def __init__(self) -> None:
        self.decisions: list[Decided] = []
        self._seen: list[tuple[current.Record, Transition]] = []

    def see(self, work: current.Record, transitions: Sequence[Transition]) -> None:
        """Take note of transitions that a piece of work made."""
        self._seen.extend((work, event) for event in transitions)

    @property
    def transitions(self) -> list[Transition]:
        """Every transition: published, pending, aborted and rolled back ones."""
        return [event for _, event in self._seen]

    @property
    def pending(self) -> list[Transition]:
        """Those that wait for the outermost commit of a database transaction."""
        return [event for work, event in self._seen if any(event is waiting for waiting in work.pending)]

    @property
    def aborted(self) -> list[Transition]:
        """Those of business calls that failed."""
        return [event for event in self.transitions if event.outcome is Outcome.ABORTED]

    @property
    def shadows(self) -> list[tuple[Reason, str]]:
        """Each word of a policy in shadow, with what it would have changed (see ``mcp_sdk.shadow``)."""
        return [told for _, decision in self.decisions for told in outcomes(decision)]

    def states(self, model: str, entity_id: Any = None) -> list[str | None]:
        """Give the states that entities of a model, or one of them, moved to; aborted moves are left out."""
        return [
            event.to_state
            for event in self.transitions
            if event.model == model and event.outcome is Outcome.COMMITTED and entity_id in (None, event.entity_id)
        ]

    def clear(self) -> None:
        """Forget everything."""
        self.decisions.clear()
        self._seen.clear()


class RecordingMesh(Mesh):
    """A mesh for tests; ``captured`` holds what happened, ``clock`` is the clock that it goes by."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.captured: Captured = Captured()

    @property
    def clock(self) -> FakeClock:
        """The clock, to be told how time passes; raises ``TypeError`` when the mesh was given another kind."""
        if not isinstance(self.runtime.clock, FakeClock):
            raise TypeError("this mesh was built with a clock of another kind; use recording_mesh(...)")
        return self.runtime.clock

    def commit(self, work: current.Record, transitions: Sequence[Transition], subjects: Sequence[object] = ()) -> None:
        """Publish, and remember."""
        super().commit(work, transitions, subjects)
        self.captured.see(work, transitions)

    def decide(self, request: DecisionRequest, answer: Decision | None = None) -> Decision:
        """Decide, and remember."""
        decision = super().decide(request, answer)
        self.captured.decisions.append(Decided(request, decision))
        return decision

    def policies(self, text: str, *, file: str = "<test>") -> PolicyRevision:
        """Put policies in force, in the place of those that were; decisions made from now on follow them.

        Raises ``PolicyError`` with every finding for policies that do not check, and leaves those in force;
        ``MissingExtra`` without the extra ``policy``.
        """
        from mcp_sdk.policy import compile_policies  # noqa: PLC0415 - costs time, and only some tests have policies

        programs = compile_policies({file: text}, self.models, namespace=self.identity.namespace)
        plane = self.control_plane
        before = plane.policies().result(PATIENCE)
        revision = PolicyRevision(before.revision if before is not None else 0, programs, {file: text}, "test")
        return plane.apply(revision).result(PATIENCE)

    def settle(self) -> None:
        """Wait until the store has all that was published, so that ``known`` gives its revisions."""
        if not self.control_plane.flush(PATIENCE):
            raise TimeoutError(f"the store did not take in what was published within {PATIENCE} s")

    def state(self, model: str, entity_id: Any) -> str | None:
        """Give the state of an entity as this process knows it."""
        known = self.known(EntityRef(model, str(entity_id)))
        return known.state if known is not None else None


def recording_mesh(*, models: Iterable[BusinessModel] = (), **settings: Any) -> RecordingMesh:
    """Build a mesh for a test: in memory, with foreseeable ids and clock; environment variables do not count.

    Decorators may name models that it does not know, for a test run imports services that have others.
    """
    plane = settings.pop("control_plane", "memory:")
    options = {name: settings.pop(name) for name in ("decision_log", "runtime") if name in settings}
    options.setdefault("runtime", Runtime(FakeClock(), SequentialIds()))
    url = {"control_plane": plane} if isinstance(plane, str) else {}
    config = from_env({}, **{"service": "test", "instance": "test-1", "linger": 0.001, **url, **settings})
    mesh = RecordingMesh(config, models=models, control_plane=None if url else plane, **options)
    mesh.models.strict = False
    return mesh
