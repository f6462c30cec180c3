"""Instruments and names: what happens, counted by business stage.

Counters are plain in-process tallies that OpenTelemetry reads when it exports, because an OpenTelemetry ``counter.add``
costs more than a whole decision. Labels come from declared enums only (models, states, outcomes, policy names), so a
hundred thousand entities add no series; a state that no model declares is counted as ``undeclared``.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterable, Mapping
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from mcp_sdk import shadow
from mcp_sdk.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from mcp_sdk.context import ModelContext, Transition
    from mcp_sdk.decisions import Decision, DecisionRequest
    from mcp_sdk.models import BusinessModel, Value

__all__ = ["SCOPE_NAME", "Tally", "Telemetry", "annotate", "span_event", "stage_of", "trace_id"]

SCOPE_NAME = "mcp_sdk"
UNDECLARED = "undeclared"
logger = logging.getLogger(SCOPE_NAME)
_tallies: WeakSet[Tally] = WeakSet()


class Tally:
    """A counter by labels that costs a tenth of a microsecond. Safe in threads and after a fork."""

    __slots__ = ("__weakref__", "_counts", "_lock", "names")

    def __init__(self, *names: str) -> None:
        self.names: tuple[str, ...] = names
        self._counts: dict[tuple[str, ...], int] = {}
        self._lock = Lock()
        _tallies.add(self)

    def after_fork(self) -> None:
        """Begin at nothing in a forked child, with a lock that nobody holds."""
        self._lock = Lock()
        self._counts = {}

    def add(self, labels: tuple[str, ...], n: int = 1) -> None:
        """Count ``n`` under ``labels``, one value for each of ``names``."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + n

    def read(self) -> dict[tuple[str, ...], int]:
        """Give the counts so far, by labels."""
        with self._lock:
            return dict(self._counts)

    def total(self) -> int:
        """Give the sum over all labels."""
        return sum(self.read().values())

    def observe(self, _: CallbackOptions) -> Iterable[Observation]:
        """Answer OpenTelemetry's export."""
        return [Observation(count, dict(zip(self.names, labels, strict=True))) for labels, count in self.read().items()]


def _after_fork() -> None:
    for tally in list(_tallies):
        tally.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def stage_of(contexts: Mapping[str, ModelContext], models: Mapping[str, BusinessModel]) -> str:
    """Give the business stage of a piece of work: ``order.created`` for the first declared model with a declared state.

    Principals come last, for who calls says less about the stage than what the call is about; ``none`` when nothing is
    known.
    """
    of_principal = "none"
    for context in contexts.values():
        model = models.get(context.model)
        if model is None or context.state not in model.states:
            continue
        if not model.principal:
            return f"{model.name}.{context.state}"
        if of_principal == "none":
            of_principal = f"{model.name}.{context.state}"
    return of_principal


class Telemetry:
    """The instruments of one mesh. Every method is cheap, safe from any thread, and never raises.

    ``models`` is the live mapping of declared models that labels are checked against; ``pseudonyms`` shows requests as
    logs may have them.
    """

    def __init__(
        self,
        models: Mapping[str, BusinessModel] | None = None,
        meters: MeterProvider | None = None,
        *,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        self._models = models if models is not None else {}
        self.pseudonyms: Pseudonyms = pseudonyms or Pseudonyms(self._models)
        self.transitions: Tally = Tally("model", "from", "to", "outcome")
        self.decisions: Tally = Tally("phase", "policy", "effect")
        self.shadows: Tally = Tally("phase", "policy", "outcome")
        self.drops: Tally = Tally("where", "reason")
        self.aborts: Tally = Tally("model", "state")
        self._warned: set[tuple[str, str]] = set()
        meter = (meters or metrics.get_meter_provider()).get_meter(SCOPE_NAME)
        self._observe(meter)
        self._requests = meter.create_histogram("mcp_sdk.request.duration", "s", "Request duration by business stage")
        self._states = meter.create_histogram("mcp_sdk.state.duration", "s", "Time that entities spent in a state")

    def _observe(self, meter: metrics.Meter) -> None:
        for name, tally, unit, text in (
            (
                "mcp_sdk.transitions",
                self.transitions,
                "{transition}",
                "Transitions of entities, by what the store made of them",
            ),
            ("mcp_sdk.decisions", self.decisions, "{decision}", "Decisions by policy and effect"),
            ("mcp_sdk.shadows", self.shadows, "{decision}", "What policies in shadow would have changed"),
            ("mcp_sdk.drops", self.drops, "{item}", "What was dropped, where and why"),
            ("mcp_sdk.aborts", self.aborts, "{call}", "Business calls that failed before the state they were to reach"),
        ):
            meter.create_observable_counter(name, [tally.observe], unit, text)

    def dropped(self, where: str, reason: str, n: int = 1) -> None:
        """Count ``n`` things dropped. ``where`` and ``reason`` are words from the code, never from input."""
        self.drops.add((where, reason), n)

    def transition(self, transition: Transition, status: str, *, since: float | None = None) -> None:
        """Count a transition that the store answered with ``status``; ``since`` is its seconds in the state it left."""
        start, end = (
            self.state(transition.model, transition.from_state),
            self.state(transition.model, transition.to_state),
        )
        self.transitions.add((self.model(transition.model), start, end, status))
        if since is not None and since >= 0:
            self._states.record(since, {"model": self.model(transition.model), "state": start})

    def aborted(self, model: str, state: str | None) -> None:
        """Count a business call that failed on its way to ``state``."""
        self.aborts.add((self.model(model), self.state(model, state)))

    def decided(self, request: DecisionRequest, decision: Decision) -> None:
        """Count a decision, once for each policy that spoke."""
        phase = request.phase.value
        for reason in decision.reasons:
            self.decisions.add((phase, reason.policy, reason.effect))
        if decision.shadow is not None:
            self.shadowed(request, decision)

    def shadowed(self, request: DecisionRequest, decision: Decision) -> None:
        """Count what each policy in shadow would have made of a decision."""
        for reason, outcome in shadow.outcomes(decision):
            self.shadows.add((request.phase.value, reason.policy, outcome))

    def request(self, seconds: float, contexts: Mapping[str, ModelContext], outcome: str) -> None:
        """Record how long a request took, by the business stage it was in; ``outcome`` is a verdict's name."""
        self._requests.record(seconds, {"stage": stage_of(contexts, self._models), "outcome": outcome})

    def failed(self, where: str, error: BaseException) -> None:
        """Count and log a failure of ours that was kept from the business call; a warning has only its type."""
        self.drops.add((where, "internal_error"))
        kind = (where, type(error).__name__)
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("%s failed and was skipped: %s (said once; see mcp_sdk.drops)", *kind)
        if not logger.isEnabledFor(logging.DEBUG):
            return
        if self.pseudonyms.secretive:  # the text of an exception may hold what no log may
            frames = "".join(traceback.format_tb(error.__traceback__))
            logger.debug("%s failed: %s\n%s", *kind, frames.rstrip())
        else:
            logger.debug("%s failed", where, exc_info=error)

    def model(self, name: str) -> str:
        """Give a model's name as a label."""
        return name if name in self._models else UNDECLARED

    def state(self, model: str, state: str | None) -> str:
        """Give a state as a label: ``none``, the state, or ``undeclared``."""
        if state is None:
            return "none"
        declared = self._models.get(model)
        return state if declared is not None and state in declared.states else UNDECLARED


def annotate(contexts: Iterable[ModelContext]) -> None:
    """Put the id, state, revision and attributes of contexts on the current span, where one records."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    for context in contexts:
        span.set_attributes(_span_attributes(context))


def span_event(transition: Transition) -> None:
    """Put a transition on the current span as an event, where one records."""
    span = trace.get_current_span()
    if span.is_recording():
        span.add_event("mcp_sdk.transition", _event_attributes(transition))


def trace_id() -> str:
    """Give the current trace's id in hex, or an empty text."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else ""


def _span_attributes(context: ModelContext) -> dict[str, Any]:
    prefix = f"mcp_sdk.{context.model}"
    attributes: dict[str, Any] = {f"{prefix}.{name}": _plain(value) for name, value in context.attributes.items()}
    attributes[f"{prefix}.rev"] = f"{context.revision}{'+' if context.tentative else ''}"
    if context.entity_id:
        attributes[f"{prefix}.id"] = context.entity_id
    if context.state is not None:
        attributes[f"{prefix}.state"] = context.state
    return attributes


def _plain(value: Value) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _event_attributes(transition: Transition) -> dict[str, Any]:
    named = {"id": transition.entity_id, "from": transition.from_state, "to": transition.to_state}
    attributes = {f"mcp_sdk.{transition.model}.{name}": value for name, value in named.items() if value}
    return attributes | {"mcp_sdk.model": transition.model, "mcp_sdk.outcome": transition.outcome.value}
