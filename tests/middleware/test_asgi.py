"""``MeshMiddleware`` in front of ASGI applications."""

import asyncio
import json
from concurrent.futures import Future

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scripted import ScriptedPlane, call, scope_of, signed

from mcp_sdk import Decision, DecisionLog, Denied, Mesh, ModelContext, Reason, Refused, StepUpRequired, Trust
from mcp_sdk import current as work
from mcp_sdk.middleware import MeshMiddleware, decision

DENY = Decision(Denied("not here"), reasons=(Reason("region", "AccessPolicy", "blocked", "deny", "secret == 42"),))


class App:
    """An application that remembers what it saw."""

    def __init__(self, raises=None):
        self.scopes = []
        self.records = []
        self.raises = raises

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        self.records.append(work.record())
        if self.raises is not None:
            raise self.raises
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


def served(app, scope, *inbound):
    """Serve one scope to its end."""
    return asyncio.run(call(app, scope, *inbound))


def body_of(sent):
    """Give the JSON body of what was sent."""
    return json.loads(sent[-1]["body"])


def test_a_permitted_request_reaches_the_application_with_its_decision(mesh):
    """The decision is in the scope's state, and the helper finds it."""
    app = App()
    sent = served(MeshMiddleware(app, mesh), scope_of())
    assert sent[0]["status"] == 200
    assert decision(app.scopes[0]).permitted
    assert app.scopes[0]["state"]["mesh_decision"] is decision(app.scopes[0])


def test_a_denied_request_never_reaches_the_application(mesh, plane):
    """The caller gets problem details that name policy and rule, and not the clause."""
    plane.rule = lambda _: DENY
    app = App()
    sent = served(MeshMiddleware(app, mesh), scope_of())
    assert app.scopes == []
    assert sent[0]["status"] == 403
    assert body_of(sent) == {
        "type": "urn:mcp-sdk:problem:denied",
        "title": "Denied by policy",
        "status": 403,
        "detail": "not here",
        "policy": "region",
        "rule": "blocked",
    }
    assert b"secret" not in sent[-1]["body"]


def test_observing_refuses_nothing(make_mesh, plane):
    """In mode ``observe`` the refusal is recorded, as one that was not carried out, and the request served."""
    records = []
    plane.rule = lambda _: DENY
    mesh = make_mesh(mode="observe")
    mesh.decision_log = DecisionLog(records.append)
    app = App()
    assert served(MeshMiddleware(app, mesh), scope_of())[0]["status"] == 200
    assert not decision(app.scopes[0]).permitted
    assert mesh.telemetry.decisions.total() == 1
    assert [(record["verdict"], record["enforced"]) for record in records] == [("deny", False)]


def test_a_refusal_that_is_carried_out_has_no_mark(make_mesh, plane):
    """In mode ``enforce`` its record is as it always was."""
    records = []
    plane.rule = lambda _: DENY
    mesh = make_mesh()
    mesh.decision_log = DecisionLog(records.append)
    assert served(MeshMiddleware(App(), mesh), scope_of())[0]["status"] == 403
    assert [(record["verdict"], record.get("enforced")) for record in records] == [("deny", None)]


def test_off_does_nothing(make_mesh, plane):
    """In mode ``off`` nobody is asked and there is no record."""
    app = App()
    served(MeshMiddleware(app, make_mesh(mode="off")), scope_of())
    assert plane.requests == []
    assert app.records == [None]


def test_a_signed_context_reaches_policy_and_application(mesh, peer, plane):
    """What a peer signed is verified, decided on, and is the work's context."""
    app = App()
    header = signed(peer, ModelContext("order", "o-1", "created", {"amount": 150000}, 7))
    served(MeshMiddleware(app, mesh), scope_of(headers=[("baggage", header)]))
    context = plane.requests[0].contexts["order"]
    assert (context.state, context.revision, context.trust) == ("created", 7, Trust.VERIFIED)
    assert plane.requests[0].source.service == "gateway"
    assert app.records[0].contexts["order"] is context


def test_every_baggage_line_is_read(mesh, peer, plane):
    """A header that a proxy split in lines is one list."""
    first, _, rest = signed(peer, ModelContext("order", "o-1", "created", {}, 7)).partition(",")
    served(MeshMiddleware(App(), mesh), scope_of(headers=[("baggage", first), ("x", "y"), ("baggage", rest)]))
    assert plane.requests[0].contexts["order"].entity_id == "o-1"


def test_a_path_parameter_names_an_entity_that_is_looked_up(mesh, plane):
    """``{order}`` in a declared path is a reference, fetched when a policy looks at it."""
    mesh.declare_operations(["GET /orders/{order}/lines"])
    ref = mesh.models.ref(mesh.models["order"], "o-2")
    plane.looked_at, plane.stored[ref] = {"order"}, ModelContext("order", "o-2", "paid", {}, 3, trust=Trust.STORE)
    served(MeshMiddleware(App(), mesh), scope_of(path="/orders/o-2/lines"))
    assert plane.fetched == [ref]
    assert plane.requests[0].contexts["order"].state == "paid"


def test_the_call_is_about_the_entity_in_its_path(mesh, peer, plane):
    """A context of another order of the caller's says nothing about the order that the path names; it is counted."""
    mesh.declare_operations(["GET /orders/{order_number}"])
    header = signed(peer, ModelContext("order", "o-1", "paid", {}, 7))
    served(MeshMiddleware(App(), mesh), scope_of(path="/orders/o-2", headers=[("baggage", header)]))
    assert "order" not in plane.requests[0].contexts
    assert mesh.telemetry.drops.read()["ingress", "not_the_entity"] == 1


def test_a_fetch_that_is_late_counts_as_absent(mesh, plane):
    """A store that does not answer costs the request ``fetch_timeout`` and nothing else."""
    mesh.declare_operations(["GET /orders/{order}"])
    plane.looked_at, plane.pending_fetch = {"order"}, Future()
    assert served(MeshMiddleware(App(), mesh), scope_of(path="/orders/o-2"))[0]["status"] == 200
    assert plane.requests[0].contexts == {}
    assert mesh.telemetry.drops.read()["fetch", "late"] == 1


@pytest.mark.parametrize(("brought", "known", "state"), [(7, 7, "known"), (6, 7, "known"), (8, 7, "brought")])
def test_the_newest_context_counts(mesh, peer, plane, brought, known, state):
    """What is known here beats older baggage; newer baggage beats what is known."""
    plane.cache[mesh.models.ref(mesh.models["order"], "o-1")] = ModelContext("order", "o-1", "known", {}, known)
    header = signed(peer, ModelContext("order", "o-1", "brought", {}, brought))
    served(MeshMiddleware(App(), mesh), scope_of(headers=[("baggage", header)]))
    assert plane.requests[0].contexts["order"].state == state


def test_a_tentative_context_beats_the_stored_one_under_it(mesh, peer, plane):
    """``7+`` beats a stored 7."""
    plane.cache[mesh.models.ref(mesh.models["order"], "o-1")] = ModelContext("order", "o-1", "created", {}, 7)
    header = signed(peer, ModelContext("order", "o-1", "paid", {}, 7, tentative=True))
    served(MeshMiddleware(App(), mesh), scope_of(headers=[("baggage", header)]))
    assert plane.requests[0].contexts["order"].tentative


def test_an_uncaught_refusal_of_a_method_becomes_its_response(mesh):
    """``Refused`` that leaves the application is answered like the middleware's own refusal."""
    step_up = Decision(StepUpRequired("urn:mfa", 300))
    sent = served(MeshMiddleware(App(raises=Refused(step_up)), mesh), scope_of())
    assert sent[0]["status"] == 401
    headers = dict(sent[0]["headers"])
    assert headers[b"www-authenticate"].startswith(b'Bearer error="insufficient_user_authentication", ')
    assert b'acr_values="urn:mfa", max_age="300"' in headers[b"www-authenticate"]


def test_head_is_governed_as_get_and_its_refusal_has_no_body(mesh, plane):
    """A rule for GET holds for HEAD, which runs the same handler."""
    plane.rule = lambda _: DENY
    sent = served(MeshMiddleware(App(), mesh), scope_of("HEAD", "/x"))
    assert plane.requests[0].operation == "GET /x"
    assert plane.requests[0].request.method == "HEAD"
    assert sent[1]["body"] == b""


def test_an_encoded_slash_hides_no_operation(mesh, plane):
    """Policies see the path that the framework routes by, not the one that was written."""
    served(MeshMiddleware(App(), mesh), scope_of(path="/admin/users", raw_path=b"/admin%2Fusers"))
    assert plane.requests[0].operation == "GET /admin/users"


def test_a_mounted_application_is_seen_from_its_own_root(mesh, plane):
    """The part under which it is mounted is no part of its operations."""
    served(MeshMiddleware(App(), mesh), scope_of(path="/api/orders", root_path="/api"))
    assert plane.requests[0].operation == "GET /orders"


def test_a_websocket_is_refused_before_it_is_accepted(mesh, plane):
    """Without the extension by close 1008, which servers answer with 403."""
    plane.rule = lambda _: DENY
    app = App()
    sent = served(MeshMiddleware(app, mesh), scope_of(type="websocket"), {"type": "websocket.connect"})
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "refused by policy"}]
    assert app.scopes == []


def test_a_websocket_is_refused_by_a_response_where_the_server_can(mesh, plane):
    """With the denial response extension the caller gets the problem details."""
    plane.rule = lambda _: DENY
    scope = scope_of(type="websocket", extensions={"websocket.http.response": {}})
    sent = served(MeshMiddleware(App(), mesh), scope, {"type": "websocket.connect"})
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 403


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
def test_a_websocket_handler_may_refuse_before_it_accepts(mesh, extensions):
    """``Refused`` out of a websocket handler refuses the handshake."""
    scope = scope_of(type="websocket", extensions=extensions)
    sent = served(MeshMiddleware(App(raises=Refused(DENY)), mesh), scope, {"type": "websocket.connect"})
    assert sent[0]["type"] in ("websocket.close", "websocket.http.response.start")


def test_the_same_mesh_decides_once(mesh, plane):
    """A second middleware of the mesh around a mounted application lets pass what the first decided."""
    served(MeshMiddleware(MeshMiddleware(App(), mesh), mesh), scope_of())
    assert len(plane.requests) == 1


def test_a_plane_that_fails_refuses(mesh, plane):
    """A decision that cannot be taken is closed: 503, and the failure is counted."""

    def broken(_):
        raise RuntimeError("gone")

    plane.rule = broken
    assert served(MeshMiddleware(App(), mesh), scope_of())[0]["status"] == 503
    assert mesh.telemetry.drops.read()["decide", "internal_error"] == 1


def test_a_principal_reader_that_fails_is_nobody(mesh, plane):
    """The application's own error in reading who calls leaves the caller anonymous."""

    def broken(_):
        raise KeyError("user")

    served(MeshMiddleware(App(), mesh, principal=broken), scope_of())
    assert not plane.requests[0].principal.authenticated


def test_the_mesh_starts_and_closes_with_a_lifespan_that_does_not_know_it():
    """An application with a lifespan of its own needs no line for the mesh."""
    plane = ScriptedPlane()

    async def app(scope, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert plane.starts == 1
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    middleware = MeshMiddleware(app, Mesh(service="orders", control_plane=plane))
    events = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    served(middleware, {"type": "lifespan"}, *events)
    assert (plane.starts, plane.closed) == (1, 1)


def test_a_mesh_that_the_application_started_is_left_to_it():
    """Where the application's lifespan runs the mesh, the middleware does not close it."""
    plane = ScriptedPlane()
    mesh = Mesh(service="orders", control_plane=plane)

    async def app(scope, receive, send):
        await receive()
        async with mesh:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    served(MeshMiddleware(app, mesh), {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert (plane.starts, plane.closed) == (1, 1)


def test_without_a_lifespan_the_first_requests_start_the_mesh_together():
    """Requests that arrive while the mesh starts wait for it."""
    plane = ScriptedPlane()
    mesh = Mesh(service="orders", control_plane=plane)
    middleware = MeshMiddleware(App(), mesh)

    async def both():
        return await asyncio.gather(call(middleware, scope_of()), call(middleware, scope_of()))

    sent = asyncio.run(both())
    assert [messages[0]["status"] for messages in sent] == [200, 200]
    assert plane.starts == 1
    mesh.close()


def test_the_span_tells_of_policies_in_shadow(mesh, plane):
    """What they would have changed is an event of the request's span; the request goes on."""
    shadow = Decision(Denied(), reasons=(Reason("tried", "AccessPolicy", "", "deny", shadow=True),))
    plane.rule = lambda _: Decision(shadow=shadow)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("request"):
        assert served(MeshMiddleware(App(), mesh), scope_of())[0]["status"] == 200
    (span,) = exporter.get_finished_spans()
    assert span.attributes["mcp_sdk.decision.verdict"] == "permit"
    (event,) = span.events
    told = {"outcome": "nothing_granted", "policy": "tried", "rule": ""}
    assert (event.name, dict(event.attributes)) == (
        "mcp_sdk.shadow",
        {f"mcp_sdk.shadow.{name}": text for name, text in told.items()},
    )
