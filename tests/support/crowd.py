"""Clients by the thousand, in a process of their own: ``python crowd.py URL COUNT``, with the token on stdin.

Each holds a WebSocket to the replica. It prints ``open N`` when all are greeted, then ``revision R N`` whenever all
were told of a revision, and leaves at the end of stdin. A stream that ends before that is said, as ``closed CODE``.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import Counter

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

HELLO = json.dumps({"op": "hello", "protocol": [1], "models": []})
LANES = 4


class Crowd:
    """The clients of one process."""

    def __init__(self, url: str, token: str, count: int) -> None:
        self._place = f"{url.replace('http', 'ws')}/v1/stream"
        self._headers = {"authorization": f"Bearer {token}"}
        self._count, self._left = count, count
        self._told: Counter[int] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Open all, a few at a time, and stay until stdin ends."""
        await asyncio.gather(*(self._lane() for _ in range(LANES)))
        say("open", self._count)
        await asyncio.to_thread(sys.stdin.read)
        for task in self._tasks:
            task.cancel()

    async def _lane(self) -> None:
        while self._left > 0:
            self._left -= 1
            greeted = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._client(greeted)))
            await greeted.wait()

    async def _client(self, greeted: asyncio.Event) -> None:
        try:
            async with connect(
                self._place, additional_headers=self._headers, compression=None, proxy=None, open_timeout=120
            ) as socket:
                await socket.send(HELLO)
                async for text in socket:
                    if "welcome" in str(text)[:20]:
                        greeted.set()
                    elif str(text).startswith('{"op":"manifest"'):
                        self._tell(json.loads(text))
        except ConnectionClosed as error:
            say("closed", error)
        except OSError as error:
            say("closed", type(error).__name__)
        finally:
            greeted.set()

    def _tell(self, said: dict[str, dict[str, str]]) -> None:
        revision = json.loads(said["envelope"]["text"])["revision"]
        self._told[revision] += 1
        if self._told[revision] == self._count:
            say("revision", revision, self._count)


def say(*words: object) -> None:
    """Tell whoever started this."""
    print(*words, flush=True)


if __name__ == "__main__":
    _, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))
    asyncio.run(Crowd(sys.argv[1], sys.stdin.readline().strip(), int(sys.argv[2])).run())
