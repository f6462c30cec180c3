"""A relay in front of a server: connections that pass through it can be cut, held up, or refused."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self


class Relay:
    """Passes TCP on to ``target`` from a free loopback port, ``port``, on threads of its own.

    ``rate`` is how many bytes a second it passes each way; 0 is no bound.
    """

    def __init__(self, target: int, *, rate: int = 0) -> None:
        self._rate = rate
        self._target = ("127.0.0.1", target)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listening.getsockname()[1])
        self._pairs: list[socket.socket] = []
        self._open = threading.Event()
        self._open.set()
        self.refusing = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refusing = True
        self._listening.close()
        self.cut()
        self._open.set()

    def cut(self) -> None:
        """Cut every connection that passes through."""
        pairs, self._pairs = self._pairs, []
        for one in pairs:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def hold(self) -> None:
        """Pass nothing on, and close nothing: a network that swallows packets."""
        self._open.clear()

    def release(self) -> None:
        """Pass everything on again, what was held up first."""
        self._open.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self._open.wait()
            if self.refusing:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._pairs += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._open.wait()
                time.sleep(len(data) / self._rate if self._rate else 0)
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
