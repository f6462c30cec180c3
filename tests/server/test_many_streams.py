"""As many streams as a replica holds, each a WebSocket of its own, and one more."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

import httpx
import pytest
from lengths import length
from serving import Replica, resident
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mcp_sdk.protocol.frames import frame

CROWD = Path(__file__).parents[1] / "support" / "crowd.py"
COUNT = length(1_200, 10_000)
PROCESSES = length(2, 4)
MORE = length(1, 5)
"""Policies after the first."""
MOST_EACH = 100 * 1024
"""Bytes of memory that a client may cost."""
PATIENCE = 600.0
HABIT = 1024
"""What most systems set as the soft limit of open files."""
POLICY = """
kind: AccessPolicy
metadata: {name: a}
spec:
  target: {service: shop}
  default: deny
"""


class Clients:
    """A process of clients, and what it says."""

    def __init__(self, replica: Replica, count: int) -> None:
        command = [sys.executable, str(CROWD), replica.url, str(count)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.count, self.said = count, Queue[str]()
        self._words = self.process.stdin
        self._words.write(f"{replica.token}\n")  # type: ignore[union-attr]
        self._words.flush()  # type: ignore[union-attr]
        self._reading = Thread(target=self._read, daemon=True)
        self._reading.start()

    def hears(self, line: str) -> None:
        """Wait until all of them say something; nobody may have gone before."""
        found = self.said.get(timeout=PATIENCE)
        while found.startswith("revision") and found != line:
            found = self.said.get(timeout=PATIENCE)
        assert found == line

    def leave(self) -> None:
        """Have them go."""
        self.process.communicate(timeout=60)

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.said.put(line.strip())


@contextmanager
def crowd(replica: Replica, count: int) -> Iterator[list[Clients]]:
    """Give clients in some processes, when all have been greeted."""
    with ExitStack() as stack:
        made = []
        for number in range(PROCESSES):
            share = count // PROCESSES + (number < count % PROCESSES)
            made.append(Clients(replica, share))
            stack.callback(made[-1].process.kill)
        for clients in made:
            clients.hears(f"open {clients.count}")
        yield made


async def one_more(replica: Replica) -> tuple[int, str]:
    """Open a stream that is to be refused; give the code and the reason."""
    headers = {"authorization": f"Bearer {replica.token}"}
    place = f"{replica.url.replace('http', 'ws')}/v1/stream"
    async with connect(place, additional_headers=headers, proxy=None, open_timeout=60) as socket:
        await socket.send(frame("hello", protocol=[1], models=[]))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


@pytest.fixture
def habit() -> Iterator[None]:
    """Have what is started begin with the soft limit of open files that is the habit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < COUNT + 200:
        pytest.skip(f"{COUNT} streams take as many open files, and no process here may have more than {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(HABIT, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("habit")
def test_as_many_streams_as_it_may_hold_and_one_more(tmp_path: Path) -> None:
    """All are greeted and told of a policy; the one more is refused with a reason; a client costs little memory."""
    options = ("--streams", str(COUNT), "--rate", "streams=100000")
    with Replica(tmp_path, options=options) as replica:
        headers = {"authorization": f"Bearer {replica.token}"}
        with httpx.Client(base_url=replica.url, headers=headers, trust_env=False, timeout=60) as http:
            http.get("/v1/manifest").raise_for_status()
            before, began = resident(replica.pid), time.monotonic()
            with crowd(replica, COUNT) as clients:
                each = (resident(replica.pid) - before) / COUNT
                print(f"{COUNT} streams open in {time.monotonic() - began:.0f} s, {each / 1024:.1f} KB each")
                assert each <= MOST_EACH
                code, reason = asyncio.run(one_more(replica))
                assert (code, "as many streams as it may" in reason) == (1013, True)
                began = time.monotonic()
                answer = http.post("/v1/policies", json={"sources": {"a.yaml": POLICY}, "replaces": 0})
                assert answer.status_code == 200, answer.text
                for some in clients:
                    some.hears(f"revision 1 {some.count}")
                print(f"a policy reached all {time.monotonic() - began:.1f} s after it was sent")
                for number in range(MORE):
                    body = {
                        "sources": {"a.yaml": POLICY.replace("name: a", f"name: a{number}")},
                        "replaces": number + 1,
                    }
                    assert http.post("/v1/policies", json=body).status_code == 200
                for some in clients:
                    some.hears(f"revision {MORE + 1} {some.count}")
                each = (resident(replica.pid) - before) / COUNT
                print(f"after {MORE + 1} policies: {each / 1024:.1f} KB each")
                assert each <= MOST_EACH
                for some in clients:
                    some.leave()
            assert http.get("/healthz").status_code == 200
            assert json.loads(http.get("/readyz").text)["status"] == "ready"
