"""Break-glass by a file: an operator's signed word that a service is to refuse nothing for a while.

It works with the control plane dead: the file lies where the service looks, and is signed by a key whose public half
the service was started with. It says less than a policy could: only ``observe``, only for one service in one scope,
only until a moment at most a day after it was signed.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mcp_sdk.exceptions import ConfigurationError, MeshError, ProtocolError
from mcp_sdk.ports import Identity
from mcp_sdk.protocol.manifests import Envelope, Signer, Verifier, fingerprint
from mcp_sdk.protocol.plain import loads
from mcp_sdk.snapshot import Override

__all__ = ["LONGEST", "GlassFile", "sign_glass"]

FORMAT = 1
KIND = "break-glass"
LONGEST = 86_400.0
"""Seconds for which glass stays broken at most."""
SKEW = 300.0
"""Seconds by which the clock of who signed may be ahead."""
LOOK = 0.5
SIZE = 65_536
logger = logging.getLogger("mcp_sdk.glass")


def sign_glass(signer: Signer, who: Identity, override: Override, *, by: str, now: datetime) -> Envelope:
    """Give the signed text that puts the service ``who.service`` into ``override``; ``by`` says who signs.

    Raises ``ConfigurationError`` for one that lasts longer than a day.
    """
    if override.until > now + timedelta(seconds=LONGEST):
        raise ConfigurationError("glass stays broken for 24 h at most. Give a shorter --ttl")
    return signer.sign(
        {
            "format": FORMAT,
            "kind": KIND,
            "mesh": who.mesh,
            "namespace": who.namespace,
            "environment": who.environment,
            "service": who.service,
            "by": by,
            "issued_at": now.isoformat(),
            **override.to_dict(),
        }
    )


class GlassFile:
    """Looks at ``path`` every half second at most; ``keys`` are the public keys (hex) that may sign.

    A file that is not to be believed is reported once, and changes nothing. Raises ``ConfigurationError`` for keys that
    are none. Safe from any thread.
    """

    def __init__(
        self,
        path: str,
        keys: Sequence[str],
        who: Identity,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path = Path(path)
        self._verifier = Verifier({fingerprint(key): key for key in map(_public, keys)})
        self._who = who
        self._monotonic, self._now = monotonic, now
        self._next = 0.0
        self._seen: tuple[int, int, int] | None = None
        self._override: Override | None = None

    def override(self) -> Override | None:
        """Give what the file says, which may be over; None where there is none."""
        now = self._monotonic()
        if now >= self._next:
            self._next = now + LOOK
            self._look()
        return self._override

    def _look(self) -> None:
        try:
            found = self._path.stat()
        except OSError:
            self._seen = self._override = None
            return
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._seen = seen
            self._override = self._read()

    def _read(self) -> Override | None:
        try:
            with open(self._path, "rb", opener=_open_file) as file:
                said = self._verifier.open(Envelope.from_dict(loads(file.read(SIZE))))
            return self._believed(said)
        except (OSError, MeshError, KeyError, TypeError, ValueError, AttributeError) as error:
            logger.error("the break-glass file %s is not believed: %s", self._path, error)  # noqa: TRY400
            return None

    def _believed(self, said: Any) -> Override:
        who = self._who
        meant = {
            "format": FORMAT,
            "kind": KIND,
            "mesh": who.mesh,
            "namespace": who.namespace,
            "environment": who.environment,
            "service": who.service,
            "mode": "observe",
        }
        for name, value in meant.items():
            if said.get(name) != value:
                raise ProtocolError(f"its {name} is {said.get(name)!r:.60}, not {value!r}")
        override, issued = Override.from_dict(said), datetime.fromisoformat(said["issued_at"])
        if issued > self._now() + timedelta(seconds=SKEW):
            raise ProtocolError(f"it was signed in the future, at {issued}: is a clock wrong?")
        if override.until > issued + timedelta(seconds=LONGEST):
            raise ProtocolError("it would hold for more than 24 h")
        logger.warning("glass is broken until %s by %s: %s", override.until, said.get("by"), override.reason)
        return override


def _open_file(path: str, flags: int) -> int:
    """Open a file that is one: a pipe would keep the service waiting for whoever writes to it."""
    found = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError("it is no regular file")
    return found


def _public(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigurationError("a break-glass key is 64 hex digits: mcpctl break-glass keygen prints them")
    return key
