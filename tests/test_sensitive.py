"""Sensitive attributes leave the object nowhere: a canary is looked for in everything that does."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes import FakePlane, FakeTransaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import use_span

from mcp_sdk import (
    Attribute,
    BusinessModel,
    Decision,
    DecisionLog,
    DecisionRequest,
    InvalidTransition,
    Reason,
    context_observer,
    current,
    model_context,
)
from mcp_sdk.middleware._flow import Enforcer
from mcp_sdk.middleware.arrivals import read_scope
from mcp_sdk.testing import recording_mesh

CANARY = "canary-4111-1111"
ALICE = "alice@example.org"


@dataclass
class Account:
    """An entity whose id is a pseudonym outside, and that has a secret of every type."""

    owner: str = ALICE
    status: str = "open"
    tier: str = "gold"
    card: str = field(default=CANARY, repr=False)
    pins: list[str] = field(default_factory=lambda: [CANARY])
    balance: str = CANARY


def model(*, enforce: bool) -> BusinessModel:
    """Declare the account."""
    return BusinessModel(
        "account",
        key="owner",
        state="status",
        states=("open", "closed", "frozen"),
        transitions={"open": ["closed"], "closed": ["open"]},
        attributes=[
            Attribute("tier"),
            Attribute("card", sensitive=True),
            Attribute("pins", "list", sensitive=True),
            Attribute("balance", "decimal", sensitive=True),
        ],
        enforce=enforce,
        pseudonymise=True,
        principal=True,
        python_type=Account,
    )


def business(mesh: Any, how: str, account: Account) -> None:
    """Touch secrets in one of the ways that business has."""
    if how == "change":
        account.card = CANARY * 2
    if how == "bind":
        mesh.bind(account, card=CANARY, pins=[CANARY])
    if how == "publish":
        mesh.publish("account", ALICE, state="closed", card=CANARY, balance=CANARY)
    if how == "raise":
        raise ValueError(f"{CANARY} of {ALICE}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    how=st.sampled_from(["nothing", "change", "bind", "publish", "raise"]),
    state=st.sampled_from(["closed", "frozen", None]),
    by_id=st.booleans(),
    observe=st.booleans(),
    span=st.booleans(),
    enforce=st.booleans(),
    pending=st.booleans(),
)
def test_the_canary_is_nowhere(
    caplog: pytest.LogCaptureFixture,
    how: str,
    state: str | None,
    by_id: bool,
    observe: bool,
    span: bool,
    enforce: bool,
    pending: bool,
) -> None:
    """Not in contexts, transitions, records, spans, logs, explanations, errors or representations; nor is the id."""
    caplog.clear()
    exporter, out = InMemorySpanExporter(), []
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    plane, written = FakePlane(), []
    plane.answer = Decision(reasons=(Reason("p", "AccessPolicy"),))
    log = DecisionLog(written.append)
    kind: Any = context_observer if observe else model_context(model="account", state=state, span=span)

    @kind
    def work(account: Any) -> None:
        out.append(repr((mesh.contexts(), mesh.context("account"))))
        business(mesh, how, account if isinstance(account, Account) else Account())

    with (
        caplog.at_level(logging.DEBUG),
        recording_mesh(
            models=[model(enforce=enforce)], control_plane=plane, pseudonym_key="key", decision_log=log
        ) as mesh,
        use_span(provider.get_tracer("t").start_span("request"), end_on_exit=True),
        current.use(current.Record(mesh)) as record,
    ):
        transaction = FakeTransaction()
        transaction.open = pending
        mesh.on_commit(transaction)
        try:
            work(ALICE if by_id else Account())
        except InvalidTransition as error:
            out.append(str(error))
        except ValueError:
            pass
        mesh.decide(DecisionRequest("bank", contexts=record.view()))
        out += [repr(record.contexts), repr(record.settled), repr(record.pending), repr(record.moved)]
        transaction.end(commit=True)
        out += [json.dumps([event.to_dict() for event in plane.published]), repr(plane.published), repr(plane.held)]
        out += [json.dumps(written), repr(mesh.models), repr(mesh.telemetry.drops.read())]
    out += [finished.to_json() for finished in exporter.get_finished_spans()]
    out += [entry.getMessage() for entry in caplog.records]
    left = "\n".join(out)
    assert CANARY not in left
    assert ALICE not in left
    assert json.dumps(mesh.models["account"].to_dict())


def test_a_sensitive_attribute_does_not_make_a_change(make_mesh: Any, plane: FakePlane) -> None:
    """That a secret changed is not told either."""
    make_mesh(model(enforce=False), pseudonym_key="key")

    @context_observer
    def update(account: Account) -> None:
        account.card = "other"

    update(Account())
    assert plane.published == []


def test_a_path_is_a_pattern_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """The operation of a logged decision, and of the debug line, is the template of the route."""
    written: list[dict[str, Any]] = []
    patients = BusinessModel("patient", key="ssn", pseudonymise=True)
    options: dict[str, Any] = {"pseudonym_key": "key", "decision_log": DecisionLog(written.append), "debug": True}
    with recording_mesh(models=[patients], **options) as mesh:
        mesh.declare_operations(["GET /patients/{patient}/notes"])
        scope = {"type": "http", "method": "GET", "path": f"/patients/{ALICE}/notes", "headers": []}
        Enforcer(mesh).enter(read_scope(scope))
    assert written[0]["operation"] == "GET /patients/{patient}/notes"
    assert ALICE not in json.dumps(written) + capsys.readouterr().err
