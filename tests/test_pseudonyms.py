"""Pseudonyms: an id that is one elsewhere is looked for in everything that leaves a process which never heard of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import use_span

from mcp_sdk import (
    BusinessModel,
    DecisionLog,
    DecisionRequest,
    Mesh,
    MeshError,
    Principal,
    current,
    model_context,
    requires_permit,
)
from mcp_sdk.decisions import Phase, RequestFacts
from mcp_sdk.middleware._flow import Enforcer
from mcp_sdk.middleware.arrivals import read_scope
from mcp_sdk.policy import Engine, compile_policies, explain
from mcp_sdk.pseudonyms import Pseudonyms
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision, Snapshot
from mcp_sdk.transports.httpx import MeshTransport

CANARY = "zq78310"
PATIENT = BusinessModel("patient", key="ssn", states=("admitted", "gone"), pseudonymise=True, enforce=True)
ORDER = BusinessModel("order", states=("created", "paid"))
POLICIES = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: records, namespace: default}
spec:
  target: {service: records, operations: ["GET /patients/{patient}/notes", "* /files/**"]}
  rules: [{name: old, when: "request.path.startsWith('/patients') && request.host == 'x'", route: {version: v9}}]
  default: {version: v1}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: nowhere, namespace: default}
spec: {target: {service: nowhere}, rules: [], default: {version: v7}}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: closed, namespace: default}
spec:
  target: {service: gateway}
  default: permit
  rules: [{name: all, when: "request.path != '' && request.path != 'open'", effect: deny, reason: not here}]
"""


class Escape:
    """A gateway that never heard of patients, beside a service that declared them; and all that left it."""

    def __init__(self, store: str) -> None:
        models = {"patient": PATIENT, "order": ORDER}
        self.records = Mesh(service="records", models=[PATIENT], control_plane=store, pseudonym_key="key").start()
        self.programs = compile_policies({"p.yaml": POLICIES}, models)
        self.records.control_plane.apply(PolicyRevision(0, self.programs)).result(10)
        for service in ("records", "nowhere"):
            endpoint = Endpoint(service, "http://10.0.0.1:8001", service, "v1")
            self.records.control_plane.register(endpoint).result(10)
        self.out: list[str] = []
        log = DecisionLog(lambda record: self.out.append(json.dumps(record, ensure_ascii=False)))
        self.gateway = Mesh(
            service="gateway", models=[ORDER], control_plane=store, decision_log=log, debug=True, ingress="open"
        ).start()

    def close(self) -> None:
        """Stop both."""
        self.gateway.close()
        self.records.close()

    def inbound(self, entity_id: str, **scope: Any) -> None:
        """Have a request arrive."""

        def unreadable(_: object) -> Principal:
            raise ValueError(entity_id)

        plain = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"shop")]} | scope
        for reader in (None, unreadable, lambda _: Principal(entity_id, authenticated=True)):
            outcome = Enforcer(self.gateway, principal=reader).enter(read_scope(dict(plain)))
            self.gateway.telemetry.request(0.1, outcome.record.contexts, outcome.decision.verdict.name)
            if outcome.response is not None:
                self.out += [outcome.response.body.decode(), repr(outcome.response.headers)]

    def outbound(self, url: str, *, moved: str = "") -> None:
        """Make a call, which is answered by a redirect to ``moved``."""
        answers = iter([httpx.Response(307, headers={"location": moved})] if moved else [])
        inner = httpx.MockTransport(lambda _: next(answers, None) or httpx.Response(200))
        with httpx.Client(transport=MeshTransport(self.gateway, inner=inner), follow_redirects=True) as client:
            try:
                client.get(url)
            except (MeshError, httpx.HTTPError) as error:
                self.out.append(str(error))


def method(escape: Escape, entity_id: str) -> None:
    """Be refused in front of a method, then fail in a captured one."""

    @requires_permit
    def read(order: str) -> None:
        """Never run."""

    def name(order: str) -> str:
        raise KeyError(order)

    @model_context(model="order", state=name)
    def pay(order: str) -> str:
        return order

    work = current.Record(escape.gateway)
    work.call.request = RequestFacts(path=f"/{entity_id}")
    with current.use(work):
        with pytest.raises(MeshError) as refused:
            read(entity_id)
        escape.out.append(str(refused.value))
        pay("o-1")


def explained(escape: Escape, entity_id: str) -> None:
    """Ask why."""
    operation = f"GET /patients/{quote(entity_id)}/notes"
    facts = RequestFacts("GET", f"/patients/{entity_id}", operation, host=entity_id)
    engine = Engine(escape.programs, escape.gateway.control_plane.snapshot().models)
    found = explain(engine, DecisionRequest("records", operation, Phase.OUTBOUND, request=facts))
    escape.out += [found.sentence(), json.dumps(found.to_dict())]


def claimed(escape: Escape, entity_id: str) -> None:
    """Have a peer that does not pseudonymise tell of a patient, to the service that does."""
    header = f"mcp_sdk.patient.id={quote(entity_id)},mcp_sdk.patient.state=admitted".encode()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"baggage", header)]}
    log = DecisionLog(lambda record: escape.out.append(json.dumps(record)))
    with Mesh(service="r", models=[PATIENT], pseudonym_key="key", ingress="open", decision_log=log) as mesh:
        Enforcer(mesh).enter(read_scope(scope))


WAYS: dict[str, Callable[[Escape, str], None]] = {
    "inbound": lambda escape, it: escape.inbound(it, path=f"/patients/{it}/notes"),
    "inbound, the whole path": lambda escape, it: escape.inbound(it, path=it),
    "inbound, query": lambda escape, it: escape.inbound(it, query_string=quote(it).encode()),
    "inbound, method": lambda escape, it: escape.inbound(it, method=it),
    "inbound, host": lambda escape, it: escape.inbound(it, headers=[(b"host", quote(it).encode())]),
    "outbound": lambda escape, it: escape.outbound(f"http://records/patients/{quote(it, safe='')}/notes"),
    "outbound, unknown": lambda escape, it: escape.outbound(f"http://records/{quote(it)}/x"),
    "outbound, rest": lambda escape, it: escape.outbound(f"http://records/files/{quote(it)}"),
    "outbound, query": lambda escape, it: escape.outbound(f"http://records/?{quote(it)}"),
    "outbound, redirected": lambda escape, it: escape.outbound(
        "http://records/", moved=f"http://records/patients/{quote(it)}"
    ),
    "outbound, no endpoint": lambda escape, it: escape.outbound(f"http://nowhere/{quote(it)}"),
    "by hand": lambda escape, it: escape.gateway.decide(DecisionRequest("records", it)) and None,
    "method": method,
    "explained": explained,
    "claimed": claimed,
}


@pytest.fixture(scope="module")
def escape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Escape]:
    """The gateway."""
    folder: Path = tmp_path_factory.mktemp("mesh")
    escape = Escape(f"sqlite:///{folder}/mesh.db")
    yield escape
    escape.close()


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(around=st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
def test_an_id_leaves_by_no_way(
    escape: Escape, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, way: str, around: str
) -> None:
    """Not in a record, a debug line, span, label, explanation, body, error, or the trace of a failure of ours."""
    caplog.clear()
    escape.out.clear()
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("t").start_span("request")
    with caplog.at_level(logging.DEBUG, "mcp_sdk"), use_span(span, end_on_exit=True):
        WAYS[way](escape, around + CANARY)
    telemetry = escape.gateway.telemetry
    tallies = (telemetry.decisions, telemetry.drops, telemetry.aborts, telemetry.transitions)
    escape.out += [repr(tally.read()) for tally in tallies]
    escape.out += [finished.to_json() for finished in exporter.get_finished_spans()]
    escape.out += [entry.getMessage() + str(entry.exc_text) + str(entry.exc_info) for entry in caplog.records]
    escape.out += capsys.readouterr()
    assert CANARY not in "\n".join(escape.out).lower()
    assert escape.out


@pytest.mark.parametrize(
    ("operation", "shown"),
    [
        ("GET /patients/1/notes", "GET /patients/{patient}/notes"),
        ("GET /files/a/1", "GET /files/**"),
        ("GET /patients/1", "GET /**"),
    ],
)
def test_a_path_is_shown_as_the_pattern_that_a_policy_has(escape: Escape, operation: str, shown: str) -> None:
    """Also in a process that only calls the service."""
    seen = escape.gateway.telemetry.pseudonyms
    assert seen.operation(DecisionRequest("records", operation, Phase.OUTBOUND)) == shown


def test_without_pseudonyms_everything_is_shown() -> None:
    """Paths, and who calls."""
    seen = Pseudonyms({"order": ORDER})
    request = DecisionRequest("shop", "GET /orders/o-1", principal=Principal("alice"))
    assert (seen.operation(request), seen.principal(request)) == ("GET /orders/o-1", "alice")
    assert not seen.secretive


def test_a_key_says_that_somebody_pseudonymises() -> None:
    """Before this process heard which model it is."""
    seen = Pseudonyms({}, keyed=True)
    request = DecisionRequest("shop", "GET /orders/o-1", principal=Principal("alice"))
    assert (seen.operation(request), seen.principal(request)) == ("GET /**", "")


def test_the_name_of_a_method_stays() -> None:
    """It is a word of the code's."""
    assert Pseudonyms({}, keyed=True).operation(DecisionRequest("s", "shop.pay", Phase.METHOD)) == "shop.pay"


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        ([PATIENT], ""),
        ([PATIENT, BusinessModel("user", principal=True)], "alice"),
        ([BusinessModel("user", principal=True, pseudonymise=True)], ""),
    ],
)
def test_a_principal_is_shown_where_its_model_is(models: list[BusinessModel], shown: str) -> None:
    """Where no model authenticates, the one that pseudonymises may be it."""
    seen = Pseudonyms({model.name: model for model in models})
    assert seen.principal(DecisionRequest("shop", principal=Principal("alice"))) == shown


def test_a_plane_that_is_broken_shows_nothing() -> None:
    """Nobody knows then what others pseudonymise."""

    def broken() -> Snapshot:
        raise RuntimeError("the plane is broken")

    seen = Pseudonyms({}, snapshot=broken)
    request = DecisionRequest("shop", "GET /orders/o-1", principal=Principal("alice"))
    assert (seen.operation(request), seen.principal(request)) == ("GET /**", "")


def test_routes_that_are_declared_later_count() -> None:
    """A framework declares them when it has started."""
    mesh = Mesh(service="records", models=[PATIENT], pseudonym_key="key")
    request, seen = DecisionRequest("records", "GET /patients/1"), mesh.telemetry.pseudonyms
    assert seen.operation(request) == "GET /**"
    mesh.declare_operations(["GET /patients/{patient}"])
    assert seen.operation(request) == "GET /patients/{patient}"
    assert seen.operation(DecisionRequest("other", "GET /patients/1")) == "GET /**"
