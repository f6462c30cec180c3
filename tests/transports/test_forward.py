"""``Forward``: requests passed on to a service of the mesh."""

import asyncio
import json
import subprocess
import sys

import httpx
import pytest
from scripted import call, scope_of

from mcp_sdk import Decision, ModelContext, Route
from mcp_sdk.decisions import Principal
from mcp_sdk.middleware import MeshMiddleware
from mcp_sdk.services import Endpoint, Subset
from mcp_sdk.transports.forward import Forward
from mcp_sdk.transports.httpx import AsyncMeshTransport


@pytest.fixture
def service(plane):
    """Register one endpoint of orders-v2."""
    plane.alive["backend"] = (Endpoint("backend", "http://10.0.0.1:8001", version="v1"),)


class Behind:
    """The service behind: remembers requests with their bodies."""

    def __init__(self, answer=None):
        self.seen, self.bodies, self.answer = [], [], answer

    async def __call__(self, request):
        self.seen.append(request)
        self.bodies.append(await request.aread())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or httpx.Response(200, content=b"hello")


def forward(mesh, behind):
    """Give a forwarding application over a wire."""
    return Forward(mesh, "backend", transport=AsyncMeshTransport(mesh, inner=httpx.MockTransport(behind), retries=0))


def served(app, scope, *inbound):
    """Serve one request."""
    return asyncio.run(call(app, scope, *inbound))


def test_a_request_is_passed_on_whole(mesh, service):
    """Method, path, query, headers and body arrive; the answer comes back."""
    behind = Behind(httpx.Response(201, headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")], content=b"done"))
    parts = [{"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.request", "body": b"cd"}]
    headers = [("host", "shop.example"), ("content-length", "4"), ("x-own", "1")]
    sent = served(forward(mesh, behind), scope_of("POST", "/a b", headers, query_string=b"q=1"), *parts)
    (request,) = behind.seen
    assert (request.method, request.url.raw_path, behind.bodies) == ("POST", b"/a%20b?q=1", [b"abcd"])
    assert request.headers["x-own"] == "1"
    assert request.headers["x-forwarded-host"] == "shop.example"
    assert request.headers["x-forwarded-for"] == "10.0.0.9"
    assert sent[0]["status"] == 201
    assert [value for name, value in sent[0]["headers"] if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert b"".join(message.get("body", b"") for message in sent[1:]) == b"done"


def test_headers_of_one_connection_end_at_it(mesh, service):
    """Both ways, those that ``Connection`` names included."""
    behind = Behind(httpx.Response(200, headers={"connection": "x-hop", "x-hop": "1", "keep-alive": "5", "x-end": "1"}))
    headers = [("connection", "keep-alive, X-Private"), ("x-private", "1"), ("te", "trailers"), ("upgrade", "h2c")]
    sent = served(forward(mesh, behind), scope_of(headers=headers))
    assert not {"connection", "x-private", "te", "upgrade"} & {
        name for name in behind.seen[0].headers if name != "host"
    }
    names = {name for name, _ in sent[0]["headers"]}
    assert b"x-end" in names
    assert not {b"connection", b"x-hop", b"keep-alive"} & names


@pytest.mark.parametrize("target", ["http://evil.example/x", "/public/../admin", "/./x", "*"])
def test_a_path_that_could_be_read_in_two_ways_is_refused(mesh, service, target):
    """What was decided on here must be what is served behind."""
    behind = Behind()
    assert served(forward(mesh, behind), scope_of(path=target))[0]["status"] == 400
    assert behind.seen == []


@pytest.mark.parametrize(
    ("package", "user", "extra"),
    [("httpx", "mcp_sdk.transports.forward", "httpx"), ("pytest", "mcp_sdk.testing.stores", "testing")],
)
def test_what_is_missing_is_named_with_what_to_install(package, user, extra):
    """Importing what needs an extra, where only the core is installed, says so."""
    code = f"import sys; sys.modules[{package!r}] = None; import {user}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f'pip install "mcp-sdk[{extra}]"' in done.stderr.splitlines()[-1]


def test_runs_of_slashes_are_one_behind_as_they_were_for_the_decision(mesh, service):
    """No router behind finds another path in what was decided on."""
    behind = Behind()
    served(forward(mesh, behind), scope_of(path="//admin//users"))
    assert behind.seen[0].url.raw_path == b"/admin/users"


@pytest.mark.parametrize("target", ["//evil.example/x", "/@evil.example/", "/http://evil.example/"])
def test_it_is_no_open_proxy(mesh, service, target):
    """Wherever a request says, it goes to the service that the application was made for."""
    behind = Behind()
    served(forward(mesh, behind), scope_of(path=target, headers=[("host", "evil.example")]))
    assert all(request.url.host == "10.0.0.1" for request in behind.seen)


def test_a_caller_cannot_speak_as_a_peer(make_mesh, service, peer):
    """Its own X-User-Id, country and our baggage members end here; ours are signed anew."""
    mesh = make_mesh(principal_header="X-User-Id", geo_header="X-Country", ingress="edge")
    behind = Behind()
    app = MeshMiddleware(forward(mesh, behind), mesh, principal=lambda _: None)
    claims = [("x-user-id", "admin"), ("x-country", "CH"), ("baggage", "mcp_sdk.order.state=paid,vendor=1")]
    served(app, scope_of(headers=claims))
    (request,) = behind.seen
    assert "x-user-id" not in request.headers
    assert "x-country" not in request.headers
    parsed = peer.codec.parse([request.headers["baggage"]], now=peer.runtime.clock.now().timestamp())
    assert (parsed.contexts, parsed.others, parsed.peer) == ({}, ("vendor=1",), "orders")


def test_the_authenticated_caller_is_told_to_peers(make_mesh, service):
    """Behind the gateway the principal is who authenticated at it."""
    mesh = make_mesh(principal_header="X-User-Id")
    behind = Behind()
    reader = lambda _: Principal("u-1", authenticated=True)  # noqa: E731
    served(MeshMiddleware(forward(mesh, behind), mesh, principal=reader), scope_of(headers=[("x-user-id", "admin")]))
    assert behind.seen[0].headers.get_list("x-user-id") == ["u-1"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(httpx.ReadError("x"), 502), (httpx.ReadTimeout("x"), 504), (httpx.ConnectError("x"), 502)],
)
def test_a_service_that_fails_is_a_problem_of_the_gateway_s(mesh, service, error, status):
    """The caller gets problem details that say nothing of what is behind."""
    sent = served(forward(mesh, Behind(error)), scope_of())
    assert sent[0]["status"] == status
    assert b"10.0.0.1" not in sent[1]["body"]


def test_a_subset_that_nobody_serves_is_503(mesh, plane, service):
    """With a time to come back."""
    plane.rule = lambda _: Decision(route=Route(Subset("v9")))
    sent = served(forward(mesh, Behind()), scope_of())
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["type"] == "urn:mcp-sdk:problem:no-endpoint"


def test_a_caller_that_goes_away_ends_the_forwarding(mesh, service):
    """Nothing is sent to somebody who left while sending."""
    headers = [("content-length", "4")]
    sent = served(forward(mesh, Behind()), scope_of("POST", "/", headers), {"type": "http.disconnect"})
    assert sent == []


def test_the_gateway_s_contexts_travel(mesh, service, plane):
    """What the middleware in front resolved is carried on."""
    mesh.declare_operations(["GET /orders/{order}"])
    plane.cache[mesh.models.ref(mesh.models["order"], "o-1")] = ModelContext("order", "o-1", "paid", {}, 4)
    behind = Behind()
    served(MeshMiddleware(forward(mesh, behind), mesh), scope_of(path="/orders/o-1"))
    assert "mcp_sdk.order.id=o-1" in behind.seen[0].headers["baggage"]


def test_websockets_are_refused(mesh):
    """They are not forwarded, and say so."""
    sent = served(forward(mesh, Behind()), scope_of(type="websocket"), {"type": "websocket.connect"})
    assert sent[0]["type"] == "websocket.close"
