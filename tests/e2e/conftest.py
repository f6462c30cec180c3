"""Real servers on free loopback ports, and a peer that shares their keys."""

import base64
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from mcp_sdk import BusinessModel, Mesh

HERE = Path(__file__).parent
KEYS = "k1:" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def free_port() -> int:
    """Give a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def port_of():
    """Give a function that gives a free port."""
    return lambda: str(free_port())


@pytest.fixture(scope="module")
def serve():
    """Give a function that starts uvicorn or gunicorn with an application of this directory, and gives its URL."""
    started = []

    def start(*command: str, port: str = "", **environ: str) -> str:
        port = port or str(free_port())
        whole = [sys.executable, "-m", *(part.replace("PORT", port) for part in command)]
        env = {
            **os.environ,
            "MCP_SDK_SERVICE": "orders",
            "MCP_SDK_SIGNING_KEYS": KEYS,
            "MCP_SDK_LINGER": "0.001",
            **environ,
        }
        started.append(subprocess.Popen(whole, cwd=HERE, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        url = f"http://127.0.0.1:{port}"
        _await_answer(url, started[-1])
        return url

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)


def _await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            httpx.get(url, timeout=1)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not answer in time")


@pytest.fixture(scope="module")
def peer():
    """Give another service's mesh that shares the keys."""
    with Mesh(
        service="gateway", signing_keys=KEYS, models=[BusinessModel("order", states=("created", "paid"))]
    ) as mesh:
        yield mesh
