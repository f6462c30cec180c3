"""Networks of a test's own, of Linux's namespaces and cables between them, which can be cut."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from services import missing

__all__ = ["Cable", "Networks"]

HERE = ""
"""The namespace that the test runs in."""


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _within(namespace: str) -> tuple[str, ...]:
    return ("-n", namespace) if namespace else ()


@dataclass(frozen=True)
class End:
    """One end of a cable: where it is, and its address there."""

    namespace: str
    device: str
    address: str

    def down(self) -> None:
        """Take this end from the network: here nothing can be sent any more; the other end sends into the void."""
        _ip(*_within(self.namespace), "link", "set", self.device, "down")

    def up(self) -> None:
        """Give it back."""
        _ip(*_within(self.namespace), "link", "set", self.device, "up")


@dataclass(frozen=True)
class Cable:
    """Two ends; what one sends comes out of the other, and goes nowhere else."""

    near: End
    far: End


class Networks:
    """Makes namespaces and cables, and takes all away at the end; skips, or fails, where that cannot be done."""

    def __init__(self) -> None:
        if shutil.which("ip") is None:
            missing("no network can be cut: there is no ip (Debian: iproute2)")
        self._mark = secrets.token_hex(3)
        self._names: list[str] = []
        self._cables = 0
        self._subnet = secrets.randbelow(2**15 - 64)
        try:
            self.namespace("trial")
        except OSError as error:
            missing(f"no network can be made: {error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._names:
            _ip("netns", "del", name)

    def namespace(self, name: str) -> str:
        """Make a namespace that reaches nothing but itself."""
        whole = f"mcp-sdk-{self._mark}-{name}"
        _ip("netns", "add", whole)
        self._names.append(whole)
        _ip("-n", whole, "link", "set", "lo", "up")
        return whole

    def cable(self, near: str, far: str) -> Cable:
        """Join two namespaces; ``HERE`` is the test's own."""
        base = (198 << 24) + (18 << 16) + (self._subnet + self._cables) * 4  # RFC 2544: for tests of networks
        devices = [f"mcp{self._mark}{self._cables}{side}" for side in "nf"]
        self._cables += 1
        _ip("link", "add", devices[0], "type", "veth", "peer", "name", devices[1])
        ends = [
            self._plugged(namespace, device, base + number)
            for namespace, device, number in zip((near, far), devices, (1, 2), strict=True)
        ]
        return Cable(*ends)

    def _plugged(self, namespace: str, device: str, number: int) -> End:
        end = End(namespace, device, ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)))
        if namespace:
            _ip("link", "set", device, "netns", namespace)
        _ip(*_within(namespace), "addr", "add", f"{end.address}/30", "dev", device)
        end.up()
        return end

    @staticmethod
    def inside(namespace: str) -> tuple[str, ...]:
        """Give the words before a command that runs it in a namespace."""
        return ("ip", "netns", "exec", namespace)
