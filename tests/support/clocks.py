"""Servers whose clock a test sets, by libfaketime: those that ask the C library for the time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services import missing

__all__ = ["ServerClock", "server_clock"]


class ServerClock:
    """A clock that is ahead of the true one by what is written in a file; called with seconds, it is set.

    ``inside`` are the words before the command of a server that is to go by it. Only the time of day is set: how long a
    server waits is as ever. The C library stands beside, for what Redis brings to allocate memory asks for the time too
    early.
    """

    def __init__(self, library: Path, folder: Path) -> None:
        self._file = folder / "ahead"
        self(0.0)
        settings = {
            "LD_PRELOAD": f"{library}:libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.inside = ("env", *(f"{name}={value}" for name, value in settings.items()))

    def __call__(self, ahead: float) -> None:
        """Set it, at once for whoever looks."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{ahead:+g}\n")
        written.replace(self._file)


@contextmanager
def server_clock() -> Iterator[ServerClock]:
    """Give a clock to start a server by; skip, or fail where servers are required, when libfaketime is missing."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        missing("no libfaketime to set a server's clock by: apt-get install libfaketime")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # a server may run as somebody else
        yield ServerClock(libraries[0], Path(folder))
