"""What ``mcpctl serve`` refuses before it makes anything: a token is shown once, and must be of a server that runs."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import pytest

from mcp_sdk.cli import main


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def typed(*argv: str) -> tuple[int, str, str]:
    """Run a command line; give its status, output and notes."""
    out, err = io.StringIO(), io.StringIO()
    return main(("serve", *argv), out, err), out.getvalue(), err.getvalue()


def test_a_port_that_is_taken_makes_no_token() -> None:
    """The address that would be printed with it is somebody else's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = typed("--port", str(port))
    assert (status, out, Path("mesh.db").exists()) == (3, "", False)
    assert f"http://127.0.0.1:{port} cannot be listened on: Address already in use. Stop what" in err
    assert "choose another: --port" in err


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (("--port", "99999"), 2, "ports are 1 to 65535"),
        (("--endpoints", "0"), 2, "--endpoints: '0' is no bound; give a whole number, 1 at least"),
        (("--service-endpoints", "many"), 2, "--service-endpoints: 'many' is no bound"),
        (("--oidc-issuer", "https://login.example.org"), 2, "--oidc-audience"),
        (("--tls-certificate", "gone.crt"), 3, "gone.crt cannot be read"),
        (("--host", "0.0.0.0"), 3, "--behind-proxy"),
        (("--host", "192.0.2.1", "--behind-proxy"), 3, "Mend --host"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(argv: tuple[str, ...], status: int, said: str) -> None:
    """And nothing is left behind."""
    found, out, err = typed(*argv)
    assert (found, out, Path("mesh.db").exists()) == (status, "", False)
    assert said in err
