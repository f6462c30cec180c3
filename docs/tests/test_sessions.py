"""Pages that show sessions, as a reader does them: their files, their commands in a shell, their output."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORTS = ("8000", "8001", "8002")
PATIENCE = 30.0


def free_ports() -> dict[str, str]:
    with closing(socket.socket()) as one, closing(socket.socket()) as two, closing(socket.socket()) as three:
        found = []
        for sock in (one, two, three):
            sock.bind(("127.0.0.1", 0))
            found.append(str(sock.getsockname()[1]))
    return dict(zip(PORTS, found, strict=True))


def pattern(expected: str) -> re.Pattern[str]:
    """``...`` stands for anything, a moment for any moment; runs of blanks are one."""
    text = re.escape(plain(expected)).replace(r"\.\.\.", ".*")
    return re.compile(re.sub(r"\d{4}\\-\d\d\\-\d\dT[\d:.+\\]+", r"[-0-9T:.+]+", text), re.DOTALL)


def plain(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


class Reader:
    """Somebody who follows the page in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports()
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        bin_folder = str(Path(sys.executable).parent)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_SDK_", "OTEL_"))}
        self.environ = kept | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
        self.environ |= {"MCP_SDK_FETCH_TIMEOUT": "2", "PYTHONUNBUFFERED": "1"}

    def here(self, text: str) -> str:
        return re.sub(r"(?<=[: ])800[012]\b", lambda match: self.ports[match[0]], text)

    def read(self, kind: str, body: str) -> None:
        """Do what one block asks for."""
        name = re.match(r"# (\S+\.\w+)\n", body)
        if name:
            file = self.folder / name[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(body)
        elif kind == "console":
            for command, expected in steps(body):
                self.serve(command) if "uvicorn" in command else self.type(command, expected)
        elif kind == "text" and not body.startswith("$ "):
            assert all(line in self.logged() for line in body.splitlines()), self.logged()

    def serve(self, command: str) -> None:
        port = command.rpartition(" ")[2]
        self.stop(port)
        with (self.folder / f"{port}.log").open("ab") as log:
            self.servers[port] = subprocess.Popen(
                ["bash", "-c", f"{assigned(self.here(command))}"], cwd=self.folder, env=self.environ, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.servers[port].poll() is None, (self.folder / f"{port}.log").read_text()
            with closing(socket.socket()) as sock:
                if sock.connect_ex(("127.0.0.1", int(self.ports[port]))) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{command} does not answer")

    def type(self, command: str, expected: str) -> None:
        """Type a command as slowly as a person does: what was stored has arrived everywhere."""
        time.sleep(0.3)
        done = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        seen = plain(done.stdout)
        if not pattern(self.here(expected)).fullmatch(seen):
            pytest.fail(f"{command}\n{seen}\n--- the page says\n{expected}", pytrace=False)

    def logged(self) -> str:
        return "".join(log.read_text() for log in self.folder.glob("*.log"))

    def stop(self, port: str) -> None:
        server = self.servers.pop(port, None)
        if server is not None:
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE)


def assigned(command: str) -> str:
    """Let the shell become the server, so that a signal reaches it."""
    match = re.match(r"((?:\w+=\S+ )*)(.*)", command)
    assert match
    return f"{match[1]}exec {match[2]}"


def steps(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with its output."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output.strip("\n")


@pytest.mark.parametrize("page", ["tutorial.md", "cli.md", "policy-test.md"])
def test_a_page_shows_what_a_reader_sees(page: str, tmp_path: Path) -> None:
    """Every file is written, every command typed, and every output is as printed."""
    if shutil.which("curl") is None:
        pytest.skip("the page types curl, and there is none")
    reader = Reader(tmp_path)
    try:
        for kind, body in BLOCK.findall((DOCS / page).read_text()):
            reader.read(kind, body)
    finally:
        for port in list(reader.servers):
            reader.stop(port)
