"""A reader of server-sent events, on a thread of its own."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, Self

import httpx

PATIENCE = 15.0


@dataclass
class Event:
    """One event; ``data`` is what its JSON holds."""

    kind: str = ""
    id: str = ""
    data: Any = None
    lines: list[str] = field(default_factory=list)


class Reader:
    """Reads a stream of events until it is left; ``next`` gives the next one of a kind."""

    def __init__(self, client: httpx.Client, path: str, params: Any = None, headers: dict[str, str] | None = None):
        self._stream = client.stream("GET", path, params=params, headers=headers or {}, timeout=60)
        self.events: Queue[Event] = Queue()
        self.ended = False

    def __enter__(self) -> Self:
        self._response = self._stream.__enter__()
        if self._response.status_code != 200:
            text = self._response.read().decode()
            self._stream.__exit__(None, None, None)
            raise AssertionError(text)
        assert self._response.headers["content-type"].startswith("text/event-stream")
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._stream.__exit__(None, None, None)

    def next(self, kind: str) -> Event:
        """Give the next event of a kind, passing over others."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                event = self.events.get(timeout=max(deadline - time.monotonic(), 0))
            except Empty:
                raise AssertionError(f"no event {kind!r} came in time") from None
            if event.kind == kind:
                return event

    def _read(self) -> None:
        event = Event()
        try:
            for line in self._response.iter_lines():
                event = self._take(line, event)
        except (httpx.HTTPError, httpx.StreamError, OSError, ValueError):
            pass  # it was left
        self.ended = True

    def _take(self, line: str, event: Event) -> Event:
        name, _, value = line.partition(": ")
        if line == "":
            if event.kind:
                event.data = json.loads("\n".join(event.lines))
                self.events.put(event)
            return Event()
        if name == "event":
            event.kind = value
        elif name == "id":
            event.id = value
        elif name == "data":
            event.lines.append(value)
        return event
