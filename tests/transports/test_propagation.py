"""Business context through OpenTelemetry's propagation API."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator

from mcp_sdk import carried, current, model_context
from mcp_sdk.context import EntityRef, ModelContext, Trust
from mcp_sdk.current import Record
from mcp_sdk.mesh import Mesh
from mcp_sdk.middleware import MeshMiddleware
from mcp_sdk.models import BusinessModel
from mcp_sdk.transports.propagation import MeshPropagator, work_of

KEYS = "k1:c2VjcmV0LXNlY3JldC1zZWNyZXQ"
ORDER = BusinessModel("order", states=("created", "paid"))
CREATED = ModelContext("order", "o-1", "created", revision=7)


def start(service: str = "orders", **settings: Any) -> Mesh:
    """Start a mesh that shares its keys with the others of this file."""
    return Mesh(service=service, signing_keys=KEYS, models=[ORDER], **settings).start()


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """A started mesh that does not inject."""
    with start() as started:
        yield started


@pytest.fixture
def injecting() -> Iterator[Mesh]:
    """A started mesh that opted in to injecting."""
    with start(propagator_inject=True) as started:
        yield started


def header(mesh: Mesh, *contexts: ModelContext, others: tuple[str, ...] = ()) -> str:
    """Give the header that another service of the mesh would send now."""
    return mesh.codec.encode(contexts, now=mesh.runtime.clock.now().timestamp(), others=others).header


def working(context: ModelContext, others: tuple[str, ...] = ()) -> Record:
    """Give a record of work about one entity."""
    work = Record()
    work.put(context)
    work.others = others
    return work


def test_what_a_peer_signed_is_extracted(mesh: Mesh) -> None:
    """With the members that are not ours, for sending on."""
    carrier = {"baggage": header(mesh, CREATED, others=("a=1;p",))}
    work = work_of(MeshPropagator().extract(carrier, Context()))
    assert work is not None
    assert work.contexts == {"order": CREATED.but(trust=Trust.VERIFIED, source="orders")}
    assert (work.others, work.mesh) == (("a=1;p",), mesh)


def test_what_nobody_signed_is_not_extracted(mesh: Mesh) -> None:
    """It is counted, and others' members still travel."""
    context = MeshPropagator().extract({"baggage": "mcp_sdk.order.id=o-1,a=1"}, Context())
    work = work_of(context)
    assert work is not None
    assert (work.contexts, work.others) == ({}, ("a=1",))
    assert mesh.telemetry.drops.read() == {("propagator", "unsigned"): 2}


def test_the_ingress_mode_holds_here_too() -> None:
    """An edge believes nobody."""
    with start(ingress="edge") as edge:
        work = work_of(MeshPropagator(edge).extract({"baggage": header(edge, CREATED)}, Context()))
    assert work is not None
    assert work.contexts == {}


def test_what_is_past_its_time_becomes_references(mesh: Mesh) -> None:
    """To be looked up by whoever does the work."""
    old = mesh.codec.encode([CREATED], now=mesh.runtime.clock.now().timestamp() - 1000).header
    work = work_of(MeshPropagator().extract({"baggage": old}, Context()))
    assert work is not None
    assert work.references == {"order": EntityRef("order", "o-1")}


def test_opentelemetrys_own_baggage_holds_no_members_of_ours(mesh: Mesh) -> None:
    """Its propagator, or any instrumentation, would send them to every host."""
    both = CompositePropagator([W3CBaggagePropagator(), MeshPropagator()])
    context = both.extract({"baggage": header(mesh, CREATED, others=("a=1",))}, Context())
    assert dict(otel_baggage.get_all(context)) == {"a": "1"}
    carrier: dict[str, str] = {}
    both.inject(carrier, context)
    assert carrier == {"baggage": "a=1"}


@pytest.mark.parametrize("carrier", [{}, {"baggage": ""}, {"baggage": []}])
def test_a_carrier_without_baggage_changes_nothing(mesh: Mesh, carrier: dict[str, Any]) -> None:
    """The context comes back as it was."""
    del mesh
    context = Context({"x": 1})
    assert MeshPropagator().extract(carrier, context) == context


def test_before_a_mesh_is_started_nothing_happens() -> None:
    """Instrumentation may be set up first."""
    carrier = {"baggage": "a=1"}
    assert MeshPropagator().extract(carrier, Context()) == Context()
    MeshPropagator().inject(carrier)
    assert carrier == {"baggage": "a=1"}


def test_a_mesh_that_is_off_does_nothing() -> None:
    """Neither in nor out."""
    with start(mode="off", propagator_inject=True) as off:
        carrier = {"baggage": "a=1"}
        assert work_of(MeshPropagator(off).extract(carrier, Context())) is None
        MeshPropagator(off).inject(carrier)
    assert carrier == {"baggage": "a=1"}


def test_injecting_is_opt_in(mesh: Mesh) -> None:
    """For OpenTelemetry never says which host is called."""
    carrier: dict[str, str] = {}
    with current.use(working(CREATED)):
        MeshPropagator(mesh).inject(carrier)
    assert carrier == {}


def test_what_is_injected_is_signed_and_keeps_all_others(injecting: Mesh) -> None:
    """OpenTelemetry's own entries win over what came in, and ours never come from there."""
    context = Context()
    for name, value in (("a", "new"), ("mcp_sdk.order.id", "forged"), ("ü b", "x;y"), ("bad", "\ud800")):
        context = otel_baggage.set_baggage(name, value, context)
    carrier: dict[str, str] = {}
    with current.use(working(CREATED, ("a=old", "c=3;p"))):
        MeshPropagator(injecting).inject(carrier, context)
    parsed = injecting.codec.parse([carrier["baggage"]], now=injecting.runtime.clock.now().timestamp())
    assert parsed.contexts == {"order": CREATED.but(trust=Trust.VERIFIED, source="orders")}
    assert parsed.others == ("a=new", "%C3%BC%20b=x%3By", "c=3;p")


def test_what_was_extracted_is_injected_onwards(injecting: Mesh) -> None:
    """A service without our middleware passes the context on."""
    propagator = MeshPropagator(injecting)
    token = otel_context.attach(propagator.extract({"baggage": header(injecting, CREATED)}, Context()))
    try:
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
    finally:
        otel_context.detach(token)
    assert "mcp_sdk.order.id=o-1" in carrier["baggage"]


@contextmanager
def message(mesh: Mesh, *contexts: ModelContext) -> Iterator[None]:
    """Be in the middle of a message, as an instrumentation of a queue's client has it."""
    token = otel_context.attach(MeshPropagator().extract({"baggage": header(mesh, *contexts)}, Context()))
    try:
        yield
    finally:
        otel_context.detach(token)


def seen(mesh: Mesh) -> str | None:
    """Tell which order the work at hand is about."""
    context = mesh.context("order")
    return context.entity_id if context is not None else None


def other(entity_id: str) -> ModelContext:
    """Give the context of another order."""
    return CREATED.but(entity_id=entity_id)


@model_context(model="order", state="paid")
def pay(order: str, look: Callable[[], object] = lambda: None) -> object:
    """Pay an order."""
    del order
    return look()


def test_a_message_is_the_work_at_hand_while_its_context_is_attached(mesh: Mesh) -> None:
    """With no call of ours: attached, it is seen; inside it another one; detached, nothing is left."""
    assert seen(mesh) is None
    with message(mesh, CREATED):
        assert (seen(mesh), list(mesh.contexts())) == ("o-1", ["order"])
        with message(mesh, other("o-2")):
            assert seen(mesh) == "o-2"
        assert seen(mesh) == "o-1"
    assert seen(mesh) is None


def test_a_decorated_consumer_sees_it_and_leaves_nothing_behind(mesh: Mesh) -> None:
    """The move starts from what the message said, and the message's work knows of it; the next message does not."""
    with message(mesh, CREATED):
        assert pay("o-1", lambda: mesh.contexts()["order"].state) == "paid"
        moved = mesh.contexts()["order"]
        assert (moved.state, moved.entity_id) == ("paid", "o-1")
        with pytest.raises(ZeroDivisionError):
            pay("o-1", lambda: 1 / 0)
    assert current.held() is None
    assert seen(mesh) is None
    with message(mesh, other("o-2")):
        assert mesh.contexts()["order"].state == "created"


def test_coroutines_and_generators_leave_nothing_behind(mesh: Mesh) -> None:
    """Nor do entities that are changed by hand."""

    @model_context(model="order", state="paid")
    async def apay(order: str) -> str | None:
        await asyncio.sleep(0)
        return seen(mesh)

    @model_context(model="order", state="paid")
    def steps(order: str) -> Iterator[str | None]:
        yield seen(mesh)

    async def consume() -> None:
        with message(mesh, CREATED):
            assert await apay("o-1") == "o-1"
            assert list(steps("o-1")) == ["o-1"]
            async with mesh.entity("order", "o-1") as order:
                order.to("paid")
            assert mesh.contexts()["order"].state == "paid"
        assert current.held() is None
        assert seen(mesh) is None

    asyncio.run(consume())


def test_what_is_bound_belongs_to_the_message(mesh: Mesh) -> None:
    """It is gone with it."""
    with message(mesh, CREATED):
        mesh.bind("order", "o-3")
        assert seen(mesh) == "o-3"
    assert seen(mesh) is None


def test_threads_begin_without_it_and_tasks_with_it(mesh: Mesh) -> None:
    """As with any other work; ``carried`` takes it along."""

    async def task() -> str | None:
        return await asyncio.create_task(asyncio.to_thread(seen, mesh))

    with message(mesh, CREATED), ThreadPoolExecutor(1) as pool:
        assert pool.submit(seen, mesh).result() is None
        assert pool.submit(carried(seen), mesh).result() == "o-1"
        assert asyncio.run(task()) == "o-1"
        assert pool.submit(seen, mesh).result() is None


def test_threads_consume_beside_each_other(mesh: Mesh) -> None:
    """Each sees its own message."""

    def consume(entity_id: str) -> object:
        with message(mesh, other(entity_id)):
            return pay(entity_id, lambda: seen(mesh)), seen(mesh)

    ids = [f"o-{number}" for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(consume, ids)) == [(each, each) for each in ids]


def test_the_record_that_is_held_wins(mesh: Mesh) -> None:
    """That of the middleware, and of a call that runs: the request stays what the work is about."""
    found: list[str | None] = []

    async def app(scope: object, receive: object, send: object) -> None:
        del scope, receive, send
        with message(mesh, other("o-2")):
            found.append(seen(mesh))

    async def serve() -> None:
        lines = [(b"baggage", header(mesh, CREATED).encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": lines, "query_string": b""}
        with message(mesh, other("o-3")):
            await MeshMiddleware(app, mesh)(scope, None, None)  # type: ignore[arg-type]
            found.append(seen(mesh))

    asyncio.run(serve())
    with message(mesh, other("o-2")), current.use(working(CREATED)):
        found.append(seen(mesh))
    assert found == ["o-1", "o-3", "o-1"]


def test_what_nobody_signed_is_not_the_work_at_hand(mesh: Mesh) -> None:
    """The ingress mode holds for messages too."""
    token = otel_context.attach(MeshPropagator().extract({"baggage": "mcp_sdk.order.id=o-1"}, Context()))
    try:
        assert mesh.contexts() == {}
    finally:
        otel_context.detach(token)


def test_injecting_warns_once_of_where_it_sends(injecting: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever opts in reads it in the log, once."""
    propagator = MeshPropagator(injecting)
    with caplog.at_level(logging.WARNING, logger="mcp_sdk"):
        propagator.inject({})
        propagator.inject({})
    assert [record.getMessage()[:25] for record in caplog.records] == ["MCP_SDK_PROPAGATOR_INJECT"]


def test_keys_that_cannot_be_read_fail_no_request() -> None:
    """What breaks is counted; the carrier and the context stay as they were."""
    with Mesh(service="orders", signing_keys="nonsense", propagator_inject=True).start() as broken:
        propagator, carrier = MeshPropagator(broken), {"baggage": "a=1"}
        assert propagator.extract(carrier, Context()) == Context()
        propagator.inject(carrier)
        assert carrier == {"baggage": "a=1"}
        assert broken.telemetry.drops.read() == {("propagator", "internal_error"): 2}


@pytest.mark.parametrize("first", ["opentelemetry.propagate", "mcp_sdk", "mcp_sdk.transports.httpx"])
def test_opentelemetry_finds_it_by_name(first: str) -> None:
    """By its entry point, whichever of the two packages is imported first."""
    program = (
        f"import {first}\nfrom opentelemetry import propagate\n"
        "print([type(each).__name__ for each in propagate.get_global_textmap()._propagators])"
    )
    environment = os.environ | {"OTEL_PROPAGATORS": "tracecontext,baggage,mcp_sdk"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert "MeshPropagator" in done.stdout, done.stderr
