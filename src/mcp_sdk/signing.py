"""The keys of a mesh, and the signature over what its services say of entities to each other.

A signature is ``<kid>.<expiry>.<mac>``. The MAC is HMAC-SHA256 (RFC 2104, FIPS 180-4) truncated to 128 bits, the least
that RFC 2104 section 5 recommends, as base64url without padding (RFC 4648 section 5). It is taken over UTF-8 strings,
each written ``<length in bytes>:<bytes>`` with nothing between: the format's name, mesh, namespace, environment,
``<kid>.<expiry>``, then each member as ``name=value``, decoded, in the order of its bytes. So another mesh, namespace
or environment makes another signature even where a key is shared.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.ports import Identity, SigningKey

__all__ = ["MIN_SECRET", "Keyring", "Signature", "Signer", "new_key"]

MIN_SECRET = 16
MAC_BYTES = 16
BLOCK_BYTES = 64
FORMAT = "mcp_sdk.baggage.v1"

_tuple = tuple.__new__
_KID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SIGNATURE = re.compile(r"([A-Za-z0-9_-]{1,32})\.([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{22})")


def new_key() -> SigningKey:
    """Make a random key of 256 bits under a random name."""
    return SigningKey(kid="k" + secrets.token_hex(4), secret=secrets.token_bytes(32))


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that a process accepts, newest first; it signs with the newest.

    To rotate, put the new key behind the old one everywhere, then before it everywhere, then take the old one away once
    the signatures' lifetime is over. Raises ``ConfigurationError``, which never shows a secret, when there is no key,
    or one has an unusable kid, a secret under 16 bytes, or a kid that another has.
    """

    keys: tuple[SigningKey, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ConfigurationError("a keyring needs at least one signing key")
        for number, key in enumerate(self.keys, 1):
            _check(key, number)
        if len({key.kid for key in self.keys}) < len(self.keys):
            raise ConfigurationError("two signing keys have the same kid; each needs its own")

    @property
    def newest(self) -> SigningKey:
        """The key that signs."""
        return self.keys[0]

    def find(self, kid: str) -> SigningKey | None:
        """Give the key of a name, or None."""
        return next((key for key in self.keys if key.kid == kid), None)

    def rotated(self, key: SigningKey) -> Keyring:
        """Give a ring that signs with ``key`` and still accepts the others."""
        return Keyring((key, *(old for old in self.keys if old.kid != key.kid)))

    @classmethod
    def ephemeral(cls) -> Keyring:
        """Make a ring of one random key, which nobody outside this process can verify."""
        return cls((new_key(),))

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read ``kid:base64secret,kid2:base64secret2``, newest first, as ``MCP_SDK_SIGNING_KEYS`` holds it.

        Either alphabet of RFC 4648 will do, padded or not. Raises ``ConfigurationError``, naming the entry by its
        number.
        """
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        return cls(tuple(_parse_key(entry, number) for number, entry in enumerate(entries, 1)))


def _check(key: SigningKey, number: int) -> None:
    if not _KID.fullmatch(key.kid):
        raise ConfigurationError(f"signing key {number}: a kid is 1 to 32 letters, digits, '-' or '_'")
    if len(key.secret) < MIN_SECRET:
        raise ConfigurationError(
            f"signing key {number}: the secret has {len(key.secret)} bytes and needs {MIN_SECRET}. "
            "Make one with: python -c 'import base64, os; print(base64.b64encode(os.urandom(32)).decode())'"
        )


def _parse_key(entry: str, number: int) -> SigningKey:
    kid, colon, encoded = entry.partition(":")
    if not colon:
        raise ConfigurationError(f"signing key {number} is not written as kid:base64secret")
    try:
        secret = base64.b64decode(_padded(encoded.strip()), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"signing key {number}: the secret is not base64") from None
    return SigningKey(kid.strip(), secret)


def _padded(encoded: str) -> str:
    bare = encoded.replace("+", "-").replace("/", "_").rstrip("=")
    return bare + "=" * (-len(bare) % 4)


class Signature(NamedTuple):
    """What a signature claims: the key's name and the second since the epoch when it stops being believed."""

    kid: str
    expiry: int
    mac: str

    @classmethod
    def parse(cls, text: str) -> Signature | None:
        """Read ``<kid>.<expiry>.<mac>``; None when it is anything else."""
        match = _SIGNATURE.fullmatch(text)
        return _tuple(cls, (match[1], int(match[2]), match[3])) if match else None


class Signer:
    """Signs and verifies members, ``name=value`` with the value decoded, as one identity."""

    def __init__(self, keyring: Keyring, identity: Identity) -> None:
        self.keyring = keyring
        domain = _prefixed((FORMAT, identity.mesh, identity.namespace, identity.environment))
        self._begun = {key.kid: _Hmac(key.secret, domain) for key in keyring.keys}

    def sign(self, members: Iterable[str], expiry: int) -> str:
        """Give the signature of ``members``, in any order, until ``expiry`` in whole seconds since the epoch."""
        claim = f"{self.keyring.newest.kid}.{expiry}"
        return f"{claim}.{_text_of(self._begun[self.keyring.newest.kid], claim, members)}"

    def knows(self, kid: str) -> bool:
        """Tell whether the ring has a key of that name."""
        return kid in self._begun

    def verify(self, signature: Signature, members: Iterable[str]) -> bool:
        """Tell whether a signature is of ``members``, in any order; says nothing of whether it has expired."""
        begun = self._begun.get(signature.kid)
        if begun is None:
            return False
        expected = _text_of(begun, f"{signature.kid}.{signature.expiry}", members)
        return hmac.compare_digest(signature.mac, expected)


_URLSAFE = bytes.maketrans(b"+/", b"-_")


_INNER, _OUTER = bytes(byte ^ 0x36 for byte in range(256)), bytes(byte ^ 0x5C for byte in range(256))


class _Hmac:
    """HMAC-SHA256 (RFC 2104 section 2) begun with a key and what every message starts with.

    The two keyed states are kept, which section 4 suggests: it takes half the time of ``hmac.digest``.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes, start: bytes) -> None:
        block = (sha256(secret).digest() if len(secret) > BLOCK_BYTES else secret).ljust(BLOCK_BYTES, b"\0")
        self._inner = sha256(block.translate(_INNER) + start)
        self._outer = sha256(block.translate(_OUTER))

    def digest(self, rest: bytes) -> bytes:
        """Give the MAC of the message that goes on with ``rest``."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(rest)
        outer.update(inner.digest())
        return outer.digest()


def _text_of(begun: _Hmac, claim: str, members: Iterable[str]) -> str:
    digest = begun.digest(_prefixed([claim, *sorted(members)]))[:MAC_BYTES]
    return binascii.b2a_base64(digest, newline=False).translate(_URLSAFE, b"=").decode("ascii")


def _prefixed(parts: Iterable[str]) -> bytes:
    text = "".join([f"{len(part)}:{part}" for part in parts])
    if text.isascii():
        return text.encode("ascii")
    return b"".join(b"%d:%b" % (len(raw), raw) for raw in (part.encode() for part in parts))
