"""What replicas tell each other by way of the store, so that only those that it is for can read it, and only for now.

A store may keep what was written for longer than anybody wants: a log, a backup. So what a tap sees is sealed for keys
that live in the memory of replicas while somebody looks on, and that are gone afterwards; then nobody can read it.
"""

from __future__ import annotations

import base64
import json
import secrets
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["SIZE", "Reader", "seal"]

ONCE = bytes(12)
"""The nonce: every key here encrypts one text."""
SIZE = 32
"""Bytes of a public key."""
MOST = 4 * 1024 * 1024
"""Bytes of a text that is opened."""


class Reader:
    """Opens what was sealed for ``public``, as long as this object lives."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def open(self, sealed: Any) -> Any:
        """Give what was sealed; None for what is not for this reader, or is no sealed text."""
        try:
            wrapped = _bytes(sealed["for"][self.public.hex()])
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(_bytes(sealed["with"])))
            key = _box(shared).decrypt(ONCE, wrapped, None)
            text = ChaCha20Poly1305(key).decrypt(ONCE, _bytes(sealed["text"]), None)
            return json.loads(zlib.decompressobj().decompress(text, MOST))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, InvalidTag, zlib.error):
            return None


def seal(plain: Any, readers: set[bytes]) -> Mapping[str, Any]:
    """Give plain JSON as it may be stored: ``readers`` are the public keys of those who shall read it.

    A key that is none is passed over: it stands in a record that anybody may have written who writes to the store.
    """
    passing, key = X25519PrivateKey.generate(), secrets.token_bytes(32)
    text = zlib.compress(json.dumps(plain).encode(), 1)
    return {
        "with": _text(passing.public_key().public_bytes_raw()),
        "for": _wrapped(passing, sorted(readers), key),
        "text": _text(ChaCha20Poly1305(key).encrypt(ONCE, text, None)),
    }


def _wrapped(passing: X25519PrivateKey, readers: Iterable[bytes], key: bytes) -> dict[str, str]:
    found = {}
    for reader in readers:
        with suppress(ValueError):
            shared = passing.exchange(X25519PublicKey.from_public_bytes(reader))
            found[reader.hex()] = _text(_box(shared).encrypt(ONCE, key, None))
    return found


def _box(shared: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), 32, salt=None, info=b"mcp-sdk tap").derive(shared))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
