"""Servers of PostgreSQL that a test may stop, halt and cut off: each on a free port, with data of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP, Signals
from types import TracebackType
from typing import Any, Self

import psycopg
from servers import free_port
from services import missing

__all__ = ["PASSWORD", "PostgresServer"]

PASSWORD = "s3cr3t-word"


class PostgresServer:
    """A PostgreSQL that asks for a password; ``inside`` are words before its command, e.g. of a network namespace."""

    def __init__(self, host: str = "127.0.0.1", inside: tuple[str, ...] = ()) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not found or os.geteuid() != 0:
            missing("no PostgreSQL to start: it takes Debian's package and root")
        self._programs, self._host, self._inside = found[-1], host, inside
        self.port = free_port()
        self.folder = Path(f"/tmp/mcp-sdk-{os.getpid()}-{self.port}")

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def url(self, host: str = "127.0.0.1", **options: object) -> str:
        """Give the URL of a store on it."""
        more = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql://postgres:{PASSWORD}@{host}:{self.port}/postgres" + (f"?{more}" if more else "")

    def start(self) -> None:
        """Start it, again on the same data after ``stop``."""
        options = ("-o", f"-p {self.port} -h {self._host} -k {self.folder}", "-l", str(self.folder / "log"))
        self._run("pg_ctl", "-w", *options, "start")

    def stop(self) -> None:
        """End it; sessions are cut off."""
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def halt(self) -> None:
        """Have it take no step any more: connections stay, and nothing is answered."""
        self._signal(SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        self._signal(SIGCONT)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask it on the socket of its folder, which no network cuts off; the schema of a store is searched first."""
        with psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user="postgres",
            password=PASSWORD,
            dbname="postgres",
            options="-c search_path=mcp_sdk",
        ) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[call-overload, no-any-return]

    def _make(self) -> None:
        self.folder.mkdir()
        secret = self.folder / "password"
        secret.write_text(f"{PASSWORD}\n")
        for path in (self.folder, secret):
            shutil.chown(path, "postgres")
        self._run("initdb", "--auth", "scram-sha-256", "--pwfile", str(secret), "--no-sync")
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")

    def _signal(self, number: Signals) -> None:
        parent = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        if number == SIGSTOP:
            os.kill(parent, number)  # first, so that it makes no other
        children = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False).stdout
        for pid in map(int, children.split()):
            with suppress(ProcessLookupError):  # it was about to end
                os.kill(pid, number)
        os.kill(parent, number)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._inside, "runuser", "-u", "postgres", "--", str(self._programs / program)]
        command += ["-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
