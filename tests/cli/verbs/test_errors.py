"""What somebody reads whose control plane cannot be reached, or will not have them."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from servers import free_port
from serving import Replica
from verbs import ACCESS, Typist, token_for


@pytest.fixture
def typed(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typist:
    """Somebody on the server, with the first admin's token."""
    monkeypatch.chdir(tmp_path)
    made = Typist(tmp_path, replica.url, replica.token)
    for name, value in made.settings.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.mark.parametrize("verb", [("apply",), ("apply", "--dry-run"), ("policy", "check"), ("diff",)])
def test_a_file_without_a_policy_takes_none_away(seeded: Typist, verb: tuple[str, ...]) -> None:
    """It is what a generator leaves that failed."""
    empty = seeded.folder / "e.yaml"
    for text in ("", "# nothing\n---\n"):
        empty.write_text(text)
        assert seeded(*verb, str(empty)) == 2
        assert f"no policy is in {empty}. Take policies away with: mcpctl delete policy NAME" in seeded.err
    assert len(seeded.json("get", "policies")) == 2


def test_no_server_there(typed: Typist) -> None:
    """The address, what went wrong, and how to start one."""
    port = free_port()
    assert typed("get", "models", "-s", f"http://127.0.0.1:{port}") == 3
    assert f"http://127.0.0.1:{port} does not answer" in typed.err
    assert "mcpctl serve" in typed.err


def test_another_server_there(typed: Typist) -> None:
    """Its path is not ours."""
    assert typed("get", "models", "-s", f"{typed.url}/elsewhere") == 3
    assert "404" in typed.err or "Not Found" in typed.err


@pytest.mark.parametrize("token", ["", "mcp_abcdefabcdef_" + "x" * 43])
def test_a_token_that_is_missing_or_wrong(typed: Typist, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Said at once, without the token."""
    monkeypatch.setenv("MCP_SDK_TOKEN", token)
    assert typed("history") == 3
    assert "mcpctl token create" in typed.err
    assert "xxx" not in typed.err


def test_a_role_that_may_not(typed: Typist, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer looks; to change something it needs another role, which is named."""
    typed.seed()
    monkeypatch.setenv("MCP_SDK_TOKEN", token_for(replica, "viewer"))
    assert typed("history") == 0, typed.err
    assert typed("describe", "order", "o-1") == 0, typed.err
    assert typed("context", "forget", "order", "o-1") == 3
    assert "may not operate" in typed.err
    assert "operator, admin" in typed.err
    monkeypatch.setenv("MCP_SDK_TOKEN", token_for(replica, "operator"))
    assert typed("apply", typed.write(a=ACCESS)) == 0, typed.err
    assert typed("context", "forget", "order", "o-1") == 0, typed.err


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[int]:
    """The port of a server whose certificate nobody trusts."""
    key, certificate = tmp_path / "k.pem", tmp_path / "c.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=_shake_hands, args=(listening, context))
        serving.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        serving.join(10)


def _shake_hands(listening: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with suppress(OSError), connection:
            context.wrap_socket(connection, server_side=True).close()


def test_a_certificate_that_is_not_trusted(typed: Typist, secured: int) -> None:
    """The mend names the setting; http where https is spoken, and the other way round, are told as such."""
    assert typed("get", "models", "-s", f"https://127.0.0.1:{secured}") == 3
    assert "MCP_SDK_TLS_CA" in typed.err
    assert typed("get", "models", "-s", f"http://127.0.0.1:{secured}") == 3
    assert "is it https://?" in typed.err
    assert typed("get", "models", "-s", typed.url.replace("http", "https")) == 3
    assert "is it http://?" in typed.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlte:///mesh.db", "Did you mean 'sqlite'?"),
        ("mesh.db", "is named by a URL"),
        ("sqlite:////nowhere/at/all/mesh.db", "Its directory must exist"),
    ],
)
def test_a_store_with_a_typing_error(typed: Typist, url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest scheme, an example, or what to look at."""
    monkeypatch.setenv("MCP_SDK_START_TIMEOUT", "0.5")
    assert typed("get", "models", "-s", url) == 3
    assert said in typed.err, typed.err
