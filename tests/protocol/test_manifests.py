"""Signed manifests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.protocol.manifests import Envelope, Manifest, PartRef, Signer, Verifier, digest
from mcp_sdk.snapshot import Override

MANIFEST = Manifest(
    Scope("shop", "prod"),
    2,
    7,
    {"models": PartRef(digest(b"{}"), 2)},
    "2026-01-01T00:00:00+00:00",
    "mesh",
    {"orders": Override("observe", datetime(2026, 1, 1, tzinfo=UTC), "incident é")},
)


def test_a_manifest_comes_back_as_it_was_signed() -> None:
    """What a trusted key signed is read as it was written."""
    signer = Signer()
    envelope = Envelope.from_dict(signer.sign(MANIFEST.to_dict()).to_dict())
    opened = Verifier({signer.key: signer.public}).open(envelope)
    assert Manifest.from_dict(opened) == MANIFEST
    assert MANIFEST.order == (2, 7)


def test_a_seed_gives_the_same_key_again() -> None:
    """A signer that is made of the seed of another signs as it does."""
    signer = Signer()
    assert Signer(signer.seed).sign({"a": 1}) == signer.sign({"a": 1})


def test_a_key_that_is_not_trusted_is_named() -> None:
    """A text that another key signed is refused, with what to do where that was on purpose."""
    signer, other = Signer(), Signer()
    with pytest.raises(ProtocolError, match=rf"{other.key}.*trusted: {signer.key}.*MCP_SDK_TRUSTED_KEYS"):
        Verifier({signer.key: signer.public}).open(other.sign({}))


@given(at=st.integers(0, 200), bit=st.integers(0, 7))
def test_no_bit_of_the_text_can_be_changed(at: int, bit: int) -> None:
    """A signed text of which one bit was changed is refused, and so is another's signature."""
    signer = Signer(bytes(32))
    envelope = signer.sign(MANIFEST.to_dict())
    raw = bytearray(envelope.text.encode())
    raw[at % len(raw)] ^= 1 << bit
    changed = replace(envelope, text=raw.decode(errors="replace"))
    with pytest.raises(ProtocolError, match="does not fit"):
        Verifier({signer.key: signer.public}).open(changed)


@pytest.mark.parametrize(
    "plain",
    [None, [], {}, {"text": "a"}, {"text": "a", "key": "b", "signature": "%"}, {"text": 1, "key": 2, "signature": 3}],
)
def test_what_is_no_envelope_is_refused(plain: object) -> None:
    """Anything but a signed text is told as such."""
    with pytest.raises(ProtocolError, match="not a signed text"):
        Envelope.from_dict(plain)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "format 2"),
        ({"epoch": "x"}, "not a manifest"),
        ({"parts": []}, "not a manifest"),
        ({"overrides": {"a": {}}}, "not an override"),
        ({"overrides": {"a": {"mode": "observe", "until": "soon"}}}, "not an override"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(change: dict[str, object], told: str) -> None:
    """Another format, and members of other types, are refused in words."""
    with pytest.raises(ProtocolError, match=told):
        Manifest.from_dict(MANIFEST.to_dict() | change)
