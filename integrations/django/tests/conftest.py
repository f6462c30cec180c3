"""Django set up in this process, and the same project under gunicorn and uvicorn on free loopback ports."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import django
import httpx
import pytest
from django.core.management import call_command
from mcp_sdk_django import get_mesh
from operating import apply_to
from servers import GUNICORN, UVICORN, Server

from mcp_sdk import Mesh

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
_data = tempfile.TemporaryDirectory()
os.environ["SHOP_DATA"] = _data.name
os.environ["DJANGO_SETTINGS_MODULE"] = "djangoshop.settings"
django.setup()


@pytest.fixture(scope="session", autouse=True)
def tables() -> Iterator[str]:
    """Make the tables of both databases; give the directory that holds them."""
    for alias in ("default", "other"):
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    yield _data.name
    _data.cleanup()


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Give an operator's mesh on the control plane that the servers share."""
    order = get_mesh().models["order"]
    mesh = Mesh(
        service="operator", control_plane=f"sqlite:///{tmp_path_factory.mktemp('mesh') / 'mesh.db'}", models=[order]
    )
    with mesh:
        yield mesh


@pytest.fixture(scope="module")
def apply(operator: Mesh) -> Callable[[str], None]:
    return partial(apply_to, operator)


@pytest.fixture(params=["wsgi", "asgi"], scope="module")
def client(request: pytest.FixtureRequest, operator: Mesh) -> Iterator[httpx.Client]:
    """Give a client of the shop, under gunicorn with three workers and under uvicorn."""
    wsgi, asgi = (*GUNICORN, "--workers", "3", "djangoshop.wsgi"), (*UVICORN, "djangoshop.asgi:application")
    command = wsgi if request.param == "wsgi" else asgi
    server = Server(*command, directory=HERE, MCP_SDK_CONTROL_PLANE=operator.config.control_plane)
    yield server.client
    assert server.stop() in (0, -signal.SIGTERM)
