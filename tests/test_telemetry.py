"""Counting by business stage, with bounded labels."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest
from fakes import FakePlane
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span
from shop import OrderState

from mcp_sdk import BusinessModel, Decision, DecisionRequest, ModelContext, Reason, Transition, model_context
from mcp_sdk.telemetry import Tally, Telemetry, annotate, span_event, stage_of, trace_id

MODELS = {
    "order": BusinessModel("order", states=OrderState),
    "user": BusinessModel("user", states=("active",), principal=True),
}


def metrics(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Give the points of every metric by name."""
    data = reader.get_metrics_data()
    assert data is not None
    found = [
        metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    ]
    return {metric.name: list(metric.data.data_points) for metric in found}


def test_counts_are_read_on_export() -> None:
    """Every tally is an observable counter, every duration a histogram, with their labels."""
    reader = InMemoryMetricReader()
    telemetry = Telemetry(MODELS, MeterProvider([reader]))
    telemetry.transition(Transition("order", "o-1", "paid", "e-1", "created"), "applied", since=2.0)
    telemetry.decided(DecisionRequest("shop"), Decision(reasons=(Reason("vip", "TrafficPolicy", effect="route"),)))
    telemetry.request(0.25, {"order": ModelContext("order", "o-1", "paid")}, "permit")
    telemetry.aborted("order", "paid")
    telemetry.dropped("publish", "queue_full", 3)
    points = metrics(reader)
    assert [(point.value, dict(point.attributes)) for point in points["mcp_sdk.transitions"]] == [
        (1, {"model": "order", "from": "created", "to": "paid", "outcome": "applied"})
    ]
    assert points["mcp_sdk.drops"][0].value == 3
    assert dict(points["mcp_sdk.decisions"][0].attributes) == {"phase": "inbound", "policy": "vip", "effect": "route"}
    assert dict(points["mcp_sdk.request.duration"][0].attributes) == {"stage": "order.paid", "outcome": "permit"}
    assert points["mcp_sdk.state.duration"][0].sum == 2.0
    assert points["mcp_sdk.aborts"][0].value == 1


def test_many_entities_add_no_series() -> None:
    """A hundred thousand orders in hostile states are as many series as one."""
    telemetry = Telemetry(MODELS)
    for index in range(100_000):
        telemetry.transition(Transition("order", f"o-{index}", f"state-{index}", "e", f"from-{index}"), "applied")
    assert telemetry.transitions.read() == {("order", "undeclared", "undeclared", "applied"): 100_000}


@given(st.text(), st.text() | st.none(), st.text() | st.none())
def test_labels_are_declared_names_only(model: str, start: str | None, end: str | None) -> None:
    """Whatever a transition says, its labels are words that somebody declared."""
    telemetry = Telemetry(MODELS)
    telemetry.transition(Transition(model, "o-1", end, "e", start), "applied")
    telemetry.aborted(model, end)
    valid = {"order", "user", "created", "paid", "shipped", "failed", "active", "none", "undeclared", "applied"}
    assert {label for labels in telemetry.transitions.read() for label in labels} <= valid
    assert {label for labels in telemetry.aborts.read() for label in labels} <= valid


def test_the_stage_is_what_the_call_is_about() -> None:
    """Who calls says less than what the call is about, and comes last; undeclared states are none."""
    user, order = ModelContext("user", "u-1", "active"), ModelContext("order", "o-1", "paid")
    assert stage_of({"user": user, "order": order}, MODELS) == "order.paid"
    assert stage_of({"user": user}, MODELS) == "user.active"
    assert stage_of({"order": order.but(state="odd"), "x": ModelContext("x", "1", "y")}, MODELS) == "none"
    assert stage_of({}, MODELS) == "none"


def test_a_failure_is_counted_always_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A store that is away for an hour writes one line; the text of the error is for the debug level."""
    telemetry = Telemetry()
    with caplog.at_level(logging.WARNING, "mcp_sdk"):
        for _ in range(3):
            telemetry.failed("publish", ValueError("secret"))
        telemetry.failed("publish", KeyError("secret"))
    assert telemetry.drops.read() == {("publish", "internal_error"): 4}
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_counts_from_nothing() -> None:
    """What the parent counted is the parent's, and its lock is not the child's."""
    tally = Tally("where")
    tally.add(("here",))
    with tally._lock:
        child = os.fork()
        if not child:
            tally.add(("there",))
            os._exit(0 if tally.read() == {("there",): 1} else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert tally.total() == 1


def test_contexts_and_transitions_go_on_the_current_span() -> None:
    """As attributes and events; nothing happens where no span records."""
    context = ModelContext("order", "o-1", "paid", {"amount": 1500}, revision=7, tentative=True)
    event = Transition("order", "o-1", "paid", "e-1", "created")
    annotate([context])
    span_event(event)
    assert trace_id() == ""
    span: Any = TracerProvider().get_tracer("test").start_span("request")
    with use_span(span, end_on_exit=True):
        annotate([context, ModelContext("user")])
        span_event(event)
        assert trace_id() == format(span.context.trace_id, "032x")
    assert dict(span.attributes) == {
        "mcp_sdk.order.amount": 1500,
        "mcp_sdk.order.rev": "7+",
        "mcp_sdk.order.id": "o-1",
        "mcp_sdk.order.state": "paid",
        "mcp_sdk.user.rev": "0",
    }
    assert span.events[0].attributes["mcp_sdk.order.from"] == "created"


def test_aborted_business_calls_are_counted(shop: Any, plane: FakePlane) -> None:
    """By model and state, with or without an id, with or without ``on_error``."""

    @model_context(model="order", state="paid", on_error="failed")
    def pay(order_number: str) -> None:
        raise ValueError

    @model_context(model="order", state="created")
    def create() -> None:
        raise ValueError

    for call in (lambda: pay("o-1"), create):
        with pytest.raises(ValueError, match=r"^$"):
            call()
    assert shop.telemetry.aborts.read() == {("order", "failed"): 1, ("order", "created"): 1}
