"""What ``mcpctl serve`` refuses before it makes anything: a token is shown once, and must be of a server that runs."""

from __future__ import annotations

import io
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from authority import Authority
from servers import free_port
from serving import Replica

from mcp_sdk.cli import main, serve

PROVIDER = ("--oidc-issuer", "http://login.example.org", "--oidc-audience", "mesh")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket that listens on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def typed(*argv: str) -> tuple[int, str, str]:
    """Run a command line, on a free port unless it says where; give its status, output and notes."""
    out, err = io.StringIO(), io.StringIO()
    where = () if {"--port", "--fd"} & {*argv} else ("--port", str(free_port()))
    return main(("serve", *argv, *where), out, err), out.getvalue(), err.getvalue()


def refused(*argv: str, status: int = 3) -> str:
    """Run what cannot work: it makes and prints nothing. Gives what it says."""
    before = {path: path.lstat().st_size for path in Path().iterdir()}
    found, out, err = typed(*argv)
    assert (found, out, {path: path.lstat().st_size for path in Path().iterdir()}) == (status, "", before), err
    assert "Traceback" not in err
    return err


def test_a_port_that_is_taken_makes_no_token(listening: socket.socket) -> None:
    """The address that would be printed with it is somebody else's."""
    port = listening.getsockname()[1]
    err = refused("--port", str(port))
    assert f"http://127.0.0.1:{port} cannot be listened on: Address already in use. Stop what" in err
    assert "choose another: --port" in err


def test_a_port_that_is_taken_on_one_of_the_addresses_of_a_host_is_taken() -> None:
    """The server listens on all of them."""
    found = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    if len({family for family, *_ in found}) < 2:
        pytest.skip("localhost has one address here")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        assert "already in use" in refused("--host", "localhost", "--port", str(taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (("--port", "99999"), 2, "ports are 1 to 65535"),
        (("--endpoints", "0"), 2, "--endpoints: '0' is no bound; give a whole number, 1 at least"),
        (("--service-endpoints", "many"), 2, "--service-endpoints: 'many' is no bound"),
        (("--staleness", "nan"), 2, "--staleness nan: give a second at least"),
        (("--tls-certificate", "gone.crt"), 3, "gone.crt cannot be read"),
        (("--host", "0.0.0.0"), 2, "--behind-proxy"),
        (("--rate", "requests=foo"), 2, "say KIND=RATE[:BURST]"),
        (("--host", "192.0.2.1", "--behind-proxy"), 3, "Mend --host"),
        (PROVIDER, 3, "--oidc-issuer is 'http://login.example.org'; it must be an https URL, or on loopback"),
        (("--fd", "99"), 3, "--fd 99 is no open socket: Bad file descriptor. Give the number of a listening socket"),
        (("--fd", "9" * 30), 3, "is no open socket: no such number"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(argv: tuple[str, ...], status: int, said: str) -> None:
    """And nothing is left behind."""
    assert said in refused(*argv, status=status)


@pytest.mark.parametrize(
    ("argv", "needed"),
    [
        (("--oidc-issuer", "https://login.example.org"), "--oidc-audience"),
        (("--oidc-audience", "mesh"), "--oidc-issuer"),
        (("--tls-client-ca", "ca.crt"), "--tls-certificate"),
        (("--tls-private-key", "tls.key"), "--tls-certificate"),
    ],
)
def test_an_option_that_does_nothing_without_another_is_refused(argv: tuple[str, ...], needed: str) -> None:
    """Whoever gave it believes that it holds, mutual TLS first of all."""
    err = refused(*argv, status=2)
    assert f"{argv[0]} {argv[1]} needs {needed}: " in err
    assert f"Add {needed}, or leave {argv[0]} out" in err


@pytest.mark.parametrize("option", ["--tls-certificate", "--tls-client-ca", "--oidc-issuer", "--token-file", "--mesh"])
def test_an_option_of_a_variable_that_is_not_set_is_refused(option: str) -> None:
    """Without it the server would run in plain HTTP, or print a token that was to be in a file."""
    assert f"{option}: it is empty" in refused(option, "", status=2)


@pytest.fixture
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a certificate, its key, the key of another one, a CA and rubbish."""
    folder = tmp_path_factory.mktemp("pems")
    authority = Authority(folder, "ca")
    for name in ("tls", "other"):
        authority.issue(name, host="127.0.0.1")
    (folder / "rubbish").write_text("rubbish\n")
    return folder


@pytest.mark.parametrize(
    ("certificate", "key", "ca", "said"),
    [
        ("tls.crt", "other.key", "ca.crt", "other.key is not the private key of "),
        ("tls.crt", "rubbish", "ca.crt", "rubbish holds no private key that can be read. Give its file, in PEM"),
        ("tls.crt", "", "ca.crt", "tls.crt holds no private key that can be read. Give its file: --tls-private-key"),
        ("rubbish", "tls.key", "ca.crt", "rubbish holds no certificate that can be read"),
        ("tls.crt", "tls.key", "rubbish", "rubbish holds no certificate that can be read"),
    ],
)
def test_files_that_tls_cannot_be_had_of_make_no_token(
    pems: Path, certificate: str, key: str, ca: str, said: str
) -> None:
    """It is said which of them it is, for OpenSSL does not."""
    argv = ["--tls-certificate", str(pems / certificate), "--tls-client-ca", str(pems / ca)]
    argv += ["--tls-private-key", str(pems / key)] if key else []
    assert said in refused(*argv, "--token-file", "token")


def test_a_token_file_that_cannot_be_written_makes_no_token() -> None:
    """The next start would make none, for there was one."""
    err = refused("--token-file", "gone/token")
    assert "--token-file gone/token cannot be written: No such file or directory. Give a file in a folder" in err


def test_a_token_goes_into_no_file_but_one_of_this_user() -> None:
    """A link leads elsewhere, and a pipe is read by somebody."""
    Path("folder").mkdir()
    Path("link").symlink_to("folder/token")
    os.mkfifo("pipe")
    assert "--token-file link cannot be written: it is a link." in refused("--token-file", "link")
    assert "--token-file pipe cannot be written: it is no file." in refused("--token-file", "pipe")
    assert "--token-file folder cannot be written: Is a directory." in refused("--token-file", "folder")
    assert "--token-file /dev/null is no file of this user's." in refused("--token-file", "/dev/null")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_token_goes_into_no_file_of_another_user() -> None:
    """Its owner could read it, whatever its mode."""
    Path("token").touch()
    os.chown("token", 12345, -1)
    assert "--token-file token is no file of this user's." in refused("--token-file", "token")


def test_a_start_that_fails_leaves_the_token_file_as_it_was() -> None:
    """What is in it may be the token of a server that runs; and where there was none there is none."""
    assert "must be an https URL" in refused(*PROVIDER, "--token-file", "token")
    Path("token").write_text("kept\n")
    assert "must be an https URL" in refused(*PROVIDER, "--token-file", "token")
    assert Path("token").read_text() == "kept\n"


def test_a_token_is_nobody_elses_to_read_even_in_a_file_that_was(tmp_path: Path) -> None:
    """It takes the place of what was there, longer or not, under mode 0600."""
    Path("token").write_text("x" * 1000)
    Path("token").chmod(0o644)
    with Replica(tmp_path) as replica:
        assert (Path("token").stat().st_mode & 0o777, replica.token[:4]) == (0o600, "mcp_")
        assert "x" * 100 not in replica.token


def test_a_start_that_makes_no_token_says_how_to_come_by_one(tmp_path: Path) -> None:
    """Somebody may have lost the first one."""
    with Replica(tmp_path) as replica:
        log, token = tmp_path / f"serve-{replica.port}.log", replica.token
        assert "--new-admin" not in log.read_text()
        replica.stop()
        replica.start()
        assert "no admin's token was made, and " in log.read_text()
        said = log.read_text().partition("where nobody has one left: ")[2]
        options = ["--host", "127.0.0.1", "--port", str(replica.port), "--token-file", str(tmp_path / "token")]
        assert shlex.split(said.splitlines()[0]) == [
            *("mcpctl", "serve", "--new-admin", "--store", replica.store),
            *options,
        ]
        assert replica.token == token


def test_what_is_printed_to_make_another_token_makes_one_of_this_server(tmp_path: Path) -> None:
    """Typed as it stands it is the same store, address and file, and not a mesh.db beside it."""
    with Replica(tmp_path) as replica:
        log, token = tmp_path / f"serve-{replica.port}.log", replica.token
        replica.stop()
        replica.start()
        replica.stop()
        said = log.read_text().partition("where nobody has one left: mcpctl serve ")[2].splitlines()[0]
        command = [sys.executable, "-m", "mcp_sdk.cli", "serve", *shlex.split(said)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"control plane on {replica.url}, over sqlite\n"
            process.stdout.readline()
            assert process.stdout.readline() == f"an admin's token is in {tmp_path / 'token'}:\n"
            process.terminate()
            process.stdout.read()
        assert replica.token != token


def test_a_token_in_a_file_is_named_by_its_place(tmp_path: Path) -> None:
    """It is shown never, and the line to type works in any folder."""
    command = [sys.executable, "-m", "mcp_sdk.cli", "serve", "--store", "memory:", "--port", str(free_port())]
    with subprocess.Popen([*command, "--token-file", "a token"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        process.terminate()
        process.stdout.read()
    assert lines[2] == f"an admin's token is in {tmp_path / 'a token'}:\n"
    assert lines[5] == f"  export MCP_SDK_TOKEN=$(cat '{tmp_path / 'a token'}')\n"
    assert "shown this once" not in "".join(lines)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://mesh@db/mesh", "postgresql://mesh@db/mesh"),
        ("postgresql://mesh:s3@cr/et@db/mesh?sslmode=require", "postgresql://***@db/mesh?sslmode=require"),
        ("postgresql://db/mesh?user=a&password=s3cret", "postgresql://db/mesh?user=a&password=***"),
        ("nats://s3cret@host", "nats://***@host"),
        ("sqlite:///mesh.db", "sqlite:///mesh.db"),
    ],
)
def test_no_password_of_a_store_is_printed(url: str, shown: str) -> None:
    """What a server prints goes to a log."""
    assert serve._harmless(url) == shown


SERVE = f"{sys.executable} -m mcp_sdk.cli serve --store memory: --port"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{SERVE} {{port}} > /dev/full", "could not be shown: [Errno 28] No space left on device."),
        (f"ulimit -f 0; {SERVE} {{port}} --token-file token", "could not be written: [Errno 27] File too large."),
    ],
)
def test_a_token_that_is_lost_at_the_last_step_is_told(line: str, said: str) -> None:
    """Not every failure can be foreseen."""
    command = ["sh", "-c", line.format(port=free_port())]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert f"an admin's token was made and {said}" in ended.stderr
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1), ended.stderr
    assert "make another: mcpctl serve --new-admin" in ended.stderr


def test_a_socket_that_was_inherited_says_where_it_listens(listening: socket.socket) -> None:
    """So that what is printed with the token is its address."""
    number, port = listening.fileno(), listening.getsockname()[1]
    command = [sys.executable, "-m", "mcp_sdk.cli", "serve", "--store", "memory:", "--fd", str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[number]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"control plane on http://127.0.0.1:{port}, over memory\n"
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30, trust_env=False).status_code == 200
        process.terminate()
        process.stdout.read()
        assert process.wait(60) == 0


def test_an_address_beside_a_socket_that_was_inherited_is_refused(listening: socket.socket) -> None:
    """The socket has one already, and that would be printed which is not."""
    number, port = listening.fileno(), listening.getsockname()[1]
    err = refused("--fd", str(number), "--port", "8700", status=2)
    assert f"--fd {number} listens on 127.0.0.1, port {port}, already. Leave --host and --port out" in err


def test_a_socket_that_does_not_listen_is_refused() -> None:
    """One that is bound only, and one that has no connections."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as bound:
            bound.bind(("127.0.0.1", 0))
            assert "is a socket that does not listen" in refused("--fd", str(bound.fileno()))


def test_a_socket_beyond_loopback_that_was_inherited_needs_tls_too() -> None:
    """Tokens would be read on the way to it as to any other."""
    with socket.create_server(("0.0.0.0", 0)) as wide:
        assert "0.0.0.0 is not loopback" in refused("--fd", str(wide.fileno()), status=2)
