"""The last good snapshot on disk: a service that starts while its control plane is away begins with it.

One file for each server and scope, of mode 0600, put in place whole. It holds the signed manifest and the parts, and is
checked like a fresh one when it is read; what does not check is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.protocol.manifests import Envelope
from mcp_sdk.protocol.plain import loads

__all__ = ["FORMAT", "LastGood"]

FORMAT = 1


class LastGood:
    """Where the last good snapshot of one scope of one server is kept; nowhere, when ``directory`` is empty."""

    def __init__(self, directory: str, url: str, scope: Scope) -> None:
        name = hashlib.sha256("\0".join((url, *scope)).encode()).hexdigest()[:24]
        self.path: Path | None = Path(directory) / f"snapshot-{name}.json" if directory else None

    def read(self) -> tuple[bytes, Envelope, dict[str, bytes]] | None:
        """Give the public key that was believed, the manifest and the parts by name; None where there are none.

        Raises ``ProtocolError`` for a file that cannot be read.
        """
        if self.path is None:
            return None
        try:
            plain = loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ProtocolError(f"{self.path} cannot be read: {error}") from error
        return self._opened(plain)

    def _opened(self, plain: Any) -> tuple[bytes, Envelope, dict[str, bytes]]:
        try:
            if plain["format"] != FORMAT:
                raise ProtocolError(f"{self.path} is of format {plain['format']!r}; this version reads {FORMAT}")
            parts = {str(name): str(text).encode() for name, text in plain["parts"].items()}
            return bytes.fromhex(plain["key"]), Envelope.from_dict(plain["envelope"]), parts
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"{self.path} holds no snapshot: {error!r:.80}") from error

    def write(self, key: bytes, envelope: Envelope, parts: Mapping[str, bytes]) -> None:
        """Keep a snapshot in the place of the one before; raises ``OSError`` where that is not possible."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        texts = {name: content.decode() for name, content in parts.items()}
        plain = {"format": FORMAT, "key": key.hex(), "envelope": envelope.to_dict(), "parts": texts}
        _replace(self.path, json.dumps(plain, ensure_ascii=False).encode())


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".snapshot-")  # of mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
