"""Real servers on free loopback ports, and a peer that shares their keys."""

import base64
from pathlib import Path

import pytest
from servers import Server, free_port

from mcp_sdk import BusinessModel, Mesh

HERE = Path(__file__).parent
KEYS = "k1:" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@pytest.fixture(scope="module")
def port_of():
    """Give a function that gives a free port."""
    return lambda: str(free_port())


@pytest.fixture(scope="module")
def serve():
    """Give a function that starts uvicorn or gunicorn with an application of this directory, and gives its URL."""
    started: list[Server] = []
    given = {"MCP_SDK_SERVICE": "orders", "MCP_SDK_SIGNING_KEYS": KEYS, "MCP_SDK_LINGER": "0.001"}

    def start(*command: str, port: str = "", **environ: str) -> str:
        started.append(Server(*command, directory=HERE, port=int(port or 0), **{**given, **environ}))
        started[-1].client.get("/")  # waits for a worker, longer than the clients of the tests would
        return started[-1].url

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def peer():
    """Give another service's mesh that shares the keys."""
    with Mesh(
        service="gateway", signing_keys=KEYS, models=[BusinessModel("order", states=("created", "paid"))]
    ) as mesh:
        yield mesh
