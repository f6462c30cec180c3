"""``MeshTransport`` and ``AsyncMeshTransport``: where calls go, and what they carry."""

import asyncio

import httpx
import pytest
from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context

from mcp_sdk import Decision, Denied, EntityRef, ModelContext, NoEndpoint, Refused, Route
from mcp_sdk import current as work
from mcp_sdk.decisions import Phase, Principal, Rolled, Shed
from mcp_sdk.services import Endpoint, Subset
from mcp_sdk.transports.httpx import AsyncMeshTransport, MeshTransport

ORDER = ModelContext("order", "o-1", "created", {"amount": 150000}, 7)


class Wire:
    """What stands behind the transport: remembers requests, and answers by host and port."""

    def __init__(self, **answers):
        self.answers = answers
        self.seen = []

    def __call__(self, request):
        self.seen.append(request)
        answer = self.answers.get(f"port{request.url.port}", 200)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else httpx.Response(answer, content=b"ok")

    @property
    def ports(self):
        return [request.url.port for request in self.seen]


class Both:
    """Sends through the sync or the async transport, as the test is parametrised."""

    def __init__(self, mesh, kind, wire, **options):
        self.mesh, self.kind, self.wire, self.options = mesh, kind, wire, options

    def request(self, method, url, **more):
        inner = httpx.MockTransport(self.wire)
        if self.kind == "sync":
            with httpx.Client(transport=MeshTransport(self.mesh, inner=inner, **self.options)) as client:
                return client.request(method, url, **more)
        return asyncio.run(self._request(inner, method, url, more))

    async def _request(self, inner, method, url, more):
        async with httpx.AsyncClient(transport=AsyncMeshTransport(self.mesh, inner=inner, **self.options)) as client:
            return await client.request(method, url, **more)


@pytest.fixture(params=["sync", "async"])
def client(request, mesh):
    """Give a factory of clients over a wire."""
    return lambda wire, **options: Both(options.pop("mesh", mesh), request.param, wire, **options)


@pytest.fixture
def inventory(plane):
    """Register v1 on port 8001 and v2 on ports 8002 and 8003 of inventory."""
    plane.alive["inventory"] = tuple(
        Endpoint("inventory", f"http://10.0.0.1:{port}", f"i{port}", version)
        for port, version in ((8001, "v1"), (8002, "v2"), (8003, "v2"))
    )
    plane.rule = lambda _: Decision(route=Route(Subset("v2")))


@pytest.fixture
def order(mesh):
    """Make an order the work at hand."""
    record = work.Record(mesh)
    record.put(ORDER)
    record.others = ("vendor=1",)
    with work.use(record):
        yield record


def test_a_service_name_goes_to_the_decided_subset(client, plane, inventory):
    """The call lands on an endpoint of the subset, and the service's name stays its Host."""
    wire = Wire()
    response = client(wire).request("GET", "http://inventory/items?x=1")
    assert response.status_code == 200
    assert wire.seen[0].url.port in (8002, 8003)
    assert (wire.seen[0].url.path, wire.seen[0].url.query) == ("/items", b"x=1")
    assert wire.seen[0].headers["host"] == "inventory"
    assert response.extensions["mcp_sdk"].endpoint.version == "v2"
    assert plane.requests[0].phase is Phase.OUTBOUND
    assert (plane.requests[0].service, plane.requests[0].operation) == ("inventory", "GET /items")


def test_the_work_at_hand_travels_signed(client, peer, plane, inventory, order):
    """One baggage header holds our members, verifiable by a peer, and others' members."""
    wire = Wire()
    client(wire).request("GET", "http://inventory/", headers={"baggage": "own=2,mcp_sdk.order.state=forged"})
    (line,) = wire.seen[0].headers.get_list("baggage")
    parsed = peer.codec.parse([line], now=peer.runtime.clock.now().timestamp())
    assert parsed.contexts["order"].entity_id == "o-1"
    assert parsed.contexts["order"].state == "created"
    assert parsed.peer == "orders"
    assert parsed.others == ("own=2", "vendor=1")
    assert plane.requests[0].contexts["order"] is ORDER


def test_other_hosts_get_nothing_of_ours(client, plane, inventory, order):
    """Towards a host that is not the mesh's our members are taken out and others' stay."""
    wire = Wire()
    client(wire).request("GET", "http://example.com/", headers={"baggage": "own=2,mcp_sdk.order.id=o-1"})
    assert wire.seen[0].headers["baggage"] == "own=2"
    assert plane.requests == []


@pytest.mark.parametrize(
    "url", ["http://inventory.evil.com/", "http://evil.com/inventory", "http://inventory@evil.com/", "http://evil/"]
)
def test_only_the_parsed_host_makes_a_call_ours(client, inventory, order, url):
    """A service's name elsewhere in a URL opens nothing."""
    wire = Wire()
    client(wire).request("GET", url)
    assert "baggage" not in wire.seen[0].headers
    assert wire.seen[0].url.host != "10.0.0.1"


def test_a_redirect_to_another_host_gets_nothing_of_ours(client, inventory, order):
    """The client calls the transport for each hop, and each hop's host is looked at."""
    away = lambda _: httpx.Response(302, headers={"location": "http://example.com/"})  # noqa: E731
    wire = Wire(port8002=away, port8003=away)
    client(wire).request("GET", "http://inventory/", follow_redirects=True)
    assert "mcp_sdk" in wire.seen[0].headers["baggage"]
    assert wire.seen[1].url.host == "example.com"
    assert "baggage" not in wire.seen[1].headers


def test_a_redirect_inside_the_service_is_decided_again(client, plane, inventory):
    """A relative redirect goes to the service, not to the endpoint that answered."""
    again = lambda request: httpx.Response(302 if request.url.path == "/a" else 200, headers={"location": "/b"})  # noqa: E731
    wire = Wire(port8002=again, port8003=again)
    assert client(wire).request("GET", "http://inventory/a", follow_redirects=True).url == "http://inventory/b"
    assert [request.operation for request in plane.requests] == ["GET /a", "GET /b"]


def test_configured_egress_hosts_get_our_baggage_where_they_are(client, make_mesh, order):
    """``egress_hosts`` are called at their own address."""
    wire = Wire()
    client(wire, mesh=make_mesh(egress_hosts=("partner.example",))).request("GET", "http://partner.example/x")
    assert "mcp_sdk.order.id=o-1" in wire.seen[0].headers["baggage"]
    assert wire.seen[0].url.host == "partner.example"


def test_a_dead_endpoint_is_passed_over(client, inventory):
    """A call that surely was not sent goes to the next endpoint, whatever its method."""
    refused = httpx.ConnectError("refused")
    wire = Wire(port8002=refused)
    both = client(wire)
    for _ in range(4):
        assert both.request("POST", "http://inventory/", content=b"x").status_code == 200
    assert 8003 in wire.ports
    assert 8001 not in wire.ports


def test_a_broken_idempotent_call_is_sent_again(client, inventory):
    """A connection that breaks on the way costs a GET another attempt."""
    wire = Wire(port8002=httpx.ReadError("reset"))
    for _ in range(3):
        assert client(wire).request("GET", "http://inventory/").extensions["mcp_sdk"].attempts <= 2


def test_a_broken_post_is_never_sent_again(client, inventory):
    """What may have been done is not done twice."""
    wire = Wire(port8002=httpx.ReadError("reset"), port8003=httpx.ReadError("reset"))
    with pytest.raises(httpx.ReadError):
        client(wire).request("POST", "http://inventory/", content=b"x")
    assert len(wire.seen) == 1


def test_a_stream_that_was_read_is_not_sent_again(client, inventory):
    """A body that cannot be read twice is sent once."""
    wire = Wire(port8002=httpx.ReadError("reset"), port8003=httpx.ReadError("reset"))
    both = client(wire)

    def parts():
        yield b"x"

    async def aparts():
        yield b"x"

    with pytest.raises(httpx.ReadError):
        both.request("PUT", "http://inventory/", content=parts() if both.kind == "sync" else aparts())
    assert len(wire.seen) == 1


def test_attempts_are_bounded(client, inventory):
    """A service of which nothing answers is given up with the last error."""
    dead = httpx.ConnectError("refused")
    wire = Wire(port8002=dead, port8003=dead)
    with pytest.raises(httpx.ConnectError):
        client(wire, retries=2).request("GET", "http://inventory/")
    assert len(wire.seen) == 3


def test_an_application_error_is_no_failure_of_the_endpoint(client, inventory):
    """A 500 is the service's answer and is not retried."""
    wire = Wire(port8002=500, port8003=500)
    assert client(wire).request("GET", "http://inventory/").status_code == 500
    assert len(wire.seen) == 1


def test_a_subset_that_nobody_serves_is_said_so(client, plane, inventory):
    """The error is httpx's kind and ours, and names what there is."""
    plane.rule = lambda _: Decision(route=Route(Subset("v9")))
    with pytest.raises(httpx.ConnectError, match=r"version=v9.*version=v1") as caught:
        client(Wire()).request("GET", "http://inventory/")
    assert isinstance(caught.value, NoEndpoint)
    assert caught.value.request.url.host == "inventory"


def test_observing_routes_on_where_nobody_serves_the_subset(client, plane, make_mesh, inventory):
    """In mode ``observe`` a route that leads nowhere loses nothing."""
    plane.rule = lambda _: Decision(route=Route(Subset("v9")))
    assert client(Wire(), mesh=make_mesh(mode="observe")).request("GET", "http://inventory/").status_code == 200


def test_off_still_finds_the_service(client, plane, make_mesh, inventory, order):
    """In mode ``off`` names are resolved; nothing is decided or sent along."""
    wire = Wire()
    client(wire, mesh=make_mesh(mode="off")).request("GET", "http://inventory/")
    assert wire.seen[0].url.host == "10.0.0.1"
    assert "baggage" not in wire.seen[0].headers
    assert plane.requests == []


@pytest.mark.parametrize("verdict", [Denied("no"), Shed(1.0)])
def test_a_refused_call_is_httpx_s_kind_of_error_and_ours(client, plane, inventory, verdict):
    """Code that handles transport errors handles refusals; the decision is on the error."""
    plane.rule = lambda _: Decision(verdict)
    with pytest.raises(httpx.TransportError) as caught:
        client(Wire()).request("GET", "http://inventory/")
    assert isinstance(caught.value, Refused)
    assert caught.value.decision.verdict is verdict


def test_the_route_bounds_the_timeouts(client, plane, inventory):
    """A route's timeout lowers the client's, and never raises it."""
    plane.rule = lambda _: Decision(route=Route(Subset("v2"), timeout=0.5))
    wire = Wire()
    client(wire).request("GET", "http://inventory/", timeout=httpx.Timeout(2.0, connect=0.1))
    assert wire.seen[0].extensions["timeout"] == {"connect": 0.1, "read": 0.5, "write": 0.5, "pool": 0.5}


def test_opentelemetry_s_baggage_cannot_write_over_ours(client, inventory, order):
    """What an instrumentation underneath would inject is merged before, and empty while it runs."""
    during = []
    wire = Wire()
    both = client(lambda request: during.append(dict(otel_baggage.get_all())) or wire(request))
    token = otel_context.attach(otel_baggage.set_baggage("tenant", "t1"))
    try:
        both.request("GET", "http://inventory/")
    finally:
        otel_context.detach(token)
    assert during == [{}]
    assert "tenant=t1" in wire.seen[0].headers["baggage"]


def test_members_that_opentelemetry_extracted_do_not_leave_the_mesh(client, inventory):
    """Its propagator would send our members on to any host; inside the call it does not hold them."""
    during = []
    both = client(lambda request: during.append(dict(otel_baggage.get_all())) or httpx.Response(200))
    held = otel_baggage.set_baggage("mcp_sdk.order.id", "o-1", otel_baggage.set_baggage("tenant", "t1"))
    token = otel_context.attach(held)
    try:
        both.request("GET", "http://example.com/")
    finally:
        otel_context.detach(token)
    assert during == [{"tenant": "t1"}]


def test_the_principal_header_is_what_was_authenticated(client, make_mesh, inventory):
    """A caller's own ``X-User-Id`` is not passed on in the name of this service."""
    mesh = make_mesh(principal_header="X-User-Id")
    record = work.Record(mesh)
    record.call.operation = "GET /"
    for principal, told in ((Principal("u-1", authenticated=True), ["u-1"]), (Principal(), [])):
        record.call.principal = principal
        wire = Wire()
        with work.use(record):
            client(wire, mesh=mesh).request("GET", "http://inventory/", headers={"x-user-id": "admin"})
        assert wire.seen[0].headers.get_list("x-user-id") == told


def test_a_response_gives_its_endpoint_back_when_it_is_closed(mesh, inventory):
    """Requests running on an endpoint are counted until their bodies are read or closed."""
    wire = Wire(
        **{f"port{port}": lambda _: httpx.Response(200, stream=httpx.ByteStream(b"ok")) for port in (8002, 8003)}
    )
    transport = MeshTransport(mesh, inner=httpx.MockTransport(wire))
    balancer = transport._outbound.balancer
    with httpx.Client(transport=transport) as client:
        with client.stream("GET", "http://inventory/") as response:
            endpoint = response.extensions["mcp_sdk"].endpoint
            assert balancer.running(endpoint) == 1
        assert balancer.running(endpoint) == 0


def test_references_are_looked_up_for_outgoing_calls_too(client, plane, inventory, mesh):
    """An entity that the work only names is fetched when a policy looks at it, and the call carries it."""
    record = work.Record(mesh)
    ref = EntityRef("order", "o-5")
    record.references["order"] = ref
    plane.looked_at, plane.stored[ref] = {"order"}, ModelContext("order", "o-5", "paid", {}, 2)
    with work.use(record):
        wire = Wire()
        client(wire).request("GET", "http://inventory/")
    assert plane.requests[0].contexts["order"].state == "paid"
    assert "mcp_sdk.order.state=paid" in wire.seen[0].headers["baggage"]


def test_a_name_that_cannot_be_resolved_says_how_to_register_it(client):
    """A single label that is no host was meant as a service."""
    with pytest.raises(httpx.ConnectError, match="MCP_SDK_SERVICE=nowhere"):
        client(lambda _: (_ for _ in ()).throw(httpx.ConnectError("no such host"))).request("GET", "http://nowhere/")


def test_while_a_change_is_rolled_out_the_plane_hears_how_calls_end(client, plane, inventory):
    """A status of 500 is an error; so is a call that reached nobody, and a subset that nobody is of."""
    rolled = Rolled("r-1", 0, "candidate", None)
    plane.rule = lambda _: Decision(route=Route(Subset("v1")), rolled=rolled)
    for answer in (200, 404, 503):
        client(Wire(port8001=answer)).request("GET", "http://inventory/stock")
    with pytest.raises(httpx.ConnectError):
        client(Wire(port8001=httpx.ConnectError("nobody")), retries=0).request("GET", "http://inventory/stock")
    plane.rule = lambda _: Decision(route=Route(Subset("v9")), rolled=rolled)
    with pytest.raises(NoEndpoint):
        client(Wire()).request("GET", "http://inventory/stock")
    assert plane.ends == [False, False, True, True, True]
