"""Servers of Redis that a test may stop, kill, fill and take apart: each a process on a free loopback port."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGTERM, Signals
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.retry import Retry
from servers import free_port
from services import missing

__all__ = ["RedisServer", "cluster", "cut", "erase", "until"]


class RedisServer:
    """A private ``redis-server`` whose data stand in a directory; it keeps nothing on disk unless told.

    ``inside`` are words before its command, e.g. those that set its clock.
    """

    def __init__(self, directory: Path, *settings: str, port: int = 0, inside: tuple[str, ...] = ()) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            missing("no redis-server is installed")
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        directory.mkdir(exist_ok=True)
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
        self._command = [*inside, binary, *words, *settings]
        self.start()

    def start(self) -> None:
        """Start it, again on the same data after ``stop`` or ``kill``."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        try:
            until(self._answers, "the server answers")
        except BaseException:
            self.stop()
            raise

    def client(self, **options: Any) -> Redis:
        """Give a synchronous client."""
        return Redis(port=self.port, **options)

    def send(self, number: Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def stop(self, number: Signals = SIGTERM) -> None:
        """End it by a signal, and wait for its end."""
        self.process.send_signal(SIGCONT)
        self.process.send_signal(number)
        self.process.wait(30)

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
        try:
            with self.client(retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())
        except (AuthenticationError, BusyLoadingError):
            return True
        except RedisError:
            return False


@contextmanager
def cluster(directory: Path, size: int = 3) -> Iterator[list[RedisServer]]:
    """Run so many servers that share the 16 384 slots."""
    with ExitStack() as stack:
        servers = []
        for number in range(size):
            settings = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            servers.append(RedisServer(directory / str(number), *settings))
            stack.callback(servers[-1].stop)
        clients = [stack.enter_context(server.client()) for server in servers]
        edges = [16384 * number // size for number in range(size + 1)]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            port, bus = servers[0].port, int(servers[0]._command[-1])
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        for client in clients:
            until(lambda client=client: _whole(client, size), "the cluster is whole")  # type: ignore[misc]
        yield servers


def _whole(client: Redis, size: int) -> bool:
    told = client.execute_command("CLUSTER", "INFO").decode().split()
    return {"cluster_state:ok", f"cluster_known_nodes:{size}", f"cluster_size:{size}"} <= set(told)


def cut(client: Redis, name: str) -> None:
    """Close every connection of a server that has a name."""
    for line in client.client_list():
        if line["name"] == name:
            client.execute_command("CLIENT", "KILL", "ID", line["id"])


def erase(client: Redis, prefix: str) -> None:
    """Erase the keys of stores whose prefix begins so."""
    for key in client.scan_iter(match=f"{{{prefix}*", count=1000):
        client.unlink(key)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that will happen soon."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"waited until {what}"
        time.sleep(0.02)
