"""What stands in ``deploy/``: read here, for no container engine is needed to find a slip in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_sdk.cli.main import main

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"


@pytest.fixture
def compose() -> Any:
    """The composition."""
    return yaml.safe_load(COMPOSE.read_text())


def test_every_server_is_there_on_loopback(compose: Any) -> None:
    """PostgreSQL, Redis, NATS and the control plane are named, and publish their ports on loopback only."""
    assert set(compose["services"]) == {"postgres", "redis", "nats", "control-plane"}
    ports = [port for service in compose["services"].values() for port in service["ports"]]
    assert sorted(port.split(":")[1] for port in ports) == ["4222", "5432", "6379", "8600"]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_volumes_that_are_used_are_declared(compose: Any) -> None:
    """Each named volume of a service stands in the table of volumes, and the other way round."""
    mounts = [mount.partition(":")[0] for service in compose["services"].values() for mount in service["volumes"]]
    assert {name for name in mounts if not name.startswith(".")} == set(compose["volumes"])


def test_the_command_of_the_control_plane_is_one_that_mcpctl_takes(
    compose: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The options are parsed by ``mcpctl`` itself; only the store's host is not to be found here."""
    monkeypatch.chdir(tmp_path)
    words = compose["services"]["control-plane"]["command"][2].split("mcpctl ")[1].split()
    elsewhere = ["nosuch://x" if word.startswith("postgresql://") else word for word in words]
    status = main(elsewhere, sys.stdout, sys.stderr)
    assert status == 3
    assert "no store for 'nosuch'" in capsys.readouterr().err
