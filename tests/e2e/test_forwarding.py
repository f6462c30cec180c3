"""A gateway, two versions of a service behind it and one SQLite file: processes, sockets, and nothing else."""

import time

import httpx
import pytest

from mcp_sdk import ModelContext


@pytest.fixture(scope="module")
def gateway(serve, port_of, tmp_path_factory):
    """Serve the gateway and two versions of orders, and wait until it has heard of both."""
    plane = f"sqlite:///{tmp_path_factory.mktemp('plane')}/mesh.db"
    for version in ("v1", "v2"):
        port = port_of()
        told = {"MCP_SDK_VERSION": version, "MCP_SDK_URL": f"http://127.0.0.1:{port}", "MCP_SDK_CONTROL_PLANE": plane}
        serve("uvicorn", "gateway_app:service", "--port", port, "--log-level", "critical", port=port, **told)
    settings = {"MCP_SDK_SERVICE": "gateway", "MCP_SDK_CONTROL_PLANE": plane}
    url = serve("uvicorn", "gateway_app:app", "--port", "PORT", "--log-level", "critical", **settings)
    for _ in range(200):
        if httpx.get(f"{url}/ready", timeout=20).text == "v1,v2":
            break
        time.sleep(0.05)
    time.sleep(0.5)
    return url


@pytest.fixture
def carrying(peer):
    """Give a function that gives the header of an order in a state."""
    return lambda state: {
        "baggage": peer.codec.encode([ModelContext("order", "o-1", state, {}, 3)], now=time.time()).header
    }


def test_the_state_of_an_order_chooses_the_version(gateway, carrying):
    """Created orders go to v2, others to v1; the context arrives verified, re-signed by the gateway."""
    assert httpx.get(f"{gateway}/orders/x", headers=carrying("created")).text == "v2 o-1:created:verified GET /x "
    assert httpx.get(f"{gateway}/orders/x", headers=carrying("paid")).text == "v1 o-1:paid:verified GET /x "
    assert httpx.post(f"{gateway}/orders/x", content=b"body").text == "v1 none POST /x body"


def test_bodies_stream_both_ways(gateway):
    """A megabyte sent in parts comes back."""
    parts = [b"a" * 65_536] * 16
    assert httpx.post(f"{gateway}/orders/upper/", content=iter(parts), timeout=30).content == b"A" * 1_048_576


def test_a_version_that_nobody_serves_is_503(gateway, carrying):
    """With problem details."""
    response = httpx.get(f"{gateway}/orders/x", headers=carrying("lost"))
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"


def test_a_websocket_is_refused_with_problem_details(gateway):
    """The server can answer an opening handshake by a response: 403 with its body; another one opens."""
    websockets = pytest.importorskip("websockets")
    client = pytest.importorskip("websockets.sync.client")
    url = gateway.replace("http", "ws")
    with pytest.raises(websockets.InvalidStatus) as caught:
        client.connect(f"{url}/denied")
    assert caught.value.response.status_code == 403
    assert b"urn:mcp-sdk:problem:denied" in caught.value.response.body
    with client.connect(f"{url}/open"):
        pass


def test_a_method_s_refusal_is_the_request_s(gateway):
    """``@requires_permit`` deep inside a handler answers 403."""
    assert httpx.get(f"{gateway}/guarded").status_code == 403
