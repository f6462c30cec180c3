"""The OpenAPI document and the server agree: schemathesis asks a real replica, as ``nox -s api`` has it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from serving import Replica

from mcp_sdk.server.app import create_app
from mcp_sdk.server.bodies import StrictRoute
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.stores.memory import MemoryStore

CONFIG = Path(__file__).with_name("schemathesis.toml")
SECONDS = 60
missing = find_spec("schemathesis") is None and os.environ.get("MCP_SDK_TEST_API") != "required"


@pytest.mark.skipif(missing, reason="schemathesis is not installed; nox -s api has it")
def test_the_server_does_what_its_document_says(tmp_path: Path) -> None:
    """Every check, in the phases coverage, fuzzing and stateful, by an admin's token, finds nothing."""
    with Replica(tmp_path) as replica:
        command = [Path(sys.executable).with_name("schemathesis"), "--config-file", str(CONFIG), "run"]
        command += [f"{replica.url}/openapi.json", "--checks", "all", "--max-time", str(SECONDS), "--no-color"]
        environment = os.environ | {"MCP_SDK_TOKEN": replica.token}
        ended = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )
    assert ended.returncode == 0, ended.stdout[-6000:]


def test_every_route_reads_bodies_strictly_and_is_documented(replica: Replica) -> None:
    """A router that ``bodies.router`` did not make would take what the others refuse."""
    app = create_app(ServerSettings(), MemoryStore())
    paths = httpx.get(f"{replica.url}/openapi.json", trust_env=False).json()["paths"]
    assert {"/v1/transitions", "/v1/decide", "/access/v1/evaluation", "/v1/tap", "/metrics"} <= set(paths)
    routes = [route for route in app.state.routes if isinstance(route, APIRoute)]
    assert len(routes) > 20
    assert all(isinstance(route, StrictRoute) for route in routes)
    for path, operations in paths.items():
        for operation in operations.values():
            assert {"4XX", "5XX"} <= set(operation["responses"]), path
