"""The mesh annotates the request's span, and adds none."""

from __future__ import annotations

import inspect

import pytest
from fastapi import FastAPI
from mcp_sdk_fastapi import install
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind


@pytest.mark.skipif(
    "telemetry" not in inspect.signature(FastAPI).parameters, reason="this FastAPI traces nothing itself"
)
def test_a_request_has_one_server_span(mesh, serve):
    """FastAPI's own span carries the decision, and there is no second one."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = FastAPI(telemetry={"tracer_provider": provider})
    install(app, mesh)
    app.get("/orders/{order}")(lambda order: order)
    with serve(app) as client:
        assert client.get("/orders/o-1").status_code == 200
    [span] = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    assert span.attributes["mcp_sdk.decision.verdict"] == "permit"
