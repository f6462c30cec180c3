"""The keyring, and signatures over members."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.ports import Identity, SigningKey
from mcp_sdk.signing import Keyring, Signature, Signer, new_key

OLD = SigningKey("old", b"o" * 32)
NEW = SigningKey("new", b"n" * 32)
ME = Identity("orders", mesh="m", namespace="shop", environment="test")
MEMBERS = ["mcp_sdk.order.id=o-1", "mcp_sdk.order.state=created"]


def signature(keyring: Keyring, identity: Identity = ME, members: list[str] = MEMBERS) -> Signature:
    """Sign members and read the signature back."""
    parsed = Signature.parse(Signer(keyring, identity).sign(members, 1060))
    assert parsed is not None
    return parsed


def test_a_ring_signs_with_the_newest_key_and_verifies_by_any() -> None:
    """After a rotation the new key signs, and what the old one signed still holds."""
    rotated = Keyring((OLD,)).rotated(NEW)
    assert signature(rotated).kid == "new"
    assert Signer(rotated, ME).verify(signature(Keyring((OLD,))), MEMBERS)


def test_a_key_that_left_the_ring_verifies_nothing() -> None:
    """A signature by a key that the ring does not have is not believed."""
    signer = Signer(Keyring((NEW,)), ME)
    assert not signer.knows("old")
    assert not signer.verify(signature(Keyring((OLD,))), MEMBERS)


def test_rotating_to_a_kid_that_is_there_replaces_its_key() -> None:
    """A ring never holds two keys of one name."""
    assert Keyring((OLD, NEW)).rotated(SigningKey("old", b"x" * 32)).keys == (SigningKey("old", b"x" * 32), NEW)


@pytest.mark.parametrize(
    "other",
    [
        Identity("orders", mesh="n", namespace="shop", environment="test"),
        Identity("orders", mesh="m", namespace="bank", environment="test"),
        Identity("orders", mesh="m", namespace="shop", environment="live"),
        Identity("orders", mesh="ms", namespace="hop", environment="test"),
    ],
)
def test_an_identity_elsewhere_does_not_verify(other: Identity) -> None:
    """Mesh, namespace and environment are part of what is signed, each by itself."""
    ring = Keyring((NEW,))
    assert not Signer(ring, other).verify(signature(ring), MEMBERS)


def test_the_service_is_not_part_of_the_domain() -> None:
    """Services of one mesh believe each other."""
    ring = Keyring((NEW,))
    other = Identity("payments", mesh="m", namespace="shop", environment="test")
    assert Signer(ring, other).verify(signature(ring), MEMBERS)


@given(st.lists(st.text(), unique=True), st.lists(st.text(), unique=True))
def test_a_signature_is_of_exactly_its_members(signed: list[str], shown: list[str]) -> None:
    """Any other set of members does not verify; their order means nothing."""
    ring = Keyring((NEW,))
    held = Signer(ring, ME).verify(signature(ring, members=signed), shown)
    assert held == (sorted(signed) == sorted(shown))


def test_another_expiry_or_kid_breaks_the_signature() -> None:
    """Expiry and kid are signed along."""
    ring = Keyring((NEW, SigningKey("twin", NEW.secret)))
    true = signature(ring)
    assert not Signer(ring, ME).verify(true._replace(expiry=2000), MEMBERS)
    assert not Signer(ring, ME).verify(true._replace(kid="twin"), MEMBERS)


def test_the_signature_is_what_the_documentation_says() -> None:
    """Anybody can compute it in another language: HMAC-SHA256 over length-prefixed UTF-8, 128 bits, base64url."""
    parts = ["mcp_sdk.baggage.v1", "m", "shop", "test", "new.1060", "mcp_sdk.user.id=Zoë"]
    message = b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)
    digest = hmac.digest(NEW.secret, message, hashlib.sha256)[:16]
    mac = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert Signer(Keyring((NEW,)), ME).sign(["mcp_sdk.user.id=Zoë"], 1060) == f"new.1060.{mac}"


@given(st.binary(min_size=16, max_size=200), st.lists(st.text()))
def test_the_mac_is_hmac_for_a_key_of_any_length(secret: bytes, members: list[str]) -> None:
    """Keys longer than a block of SHA-256 are hashed first (RFC 2104 section 2)."""
    parts = ["mcp_sdk.baggage.v1", "m", "shop", "test", "k.1060", *sorted(members)]
    raws = [part.encode("utf-8", "surrogatepass") for part in parts]
    digest = hmac.digest(secret, b"".join(b"%d:%b" % (len(raw), raw) for raw in raws), hashlib.sha256)[:16]
    signed = Signer(Keyring((SigningKey("k", secret),)), ME).sign(members, 1060)
    assert signed == f"k.1060.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@pytest.mark.parametrize("text", ["", "k.1", "k.1.short", "k.01." + "a" * 22, "k.1." + "a" * 23, "k!.1." + "a" * 22])
def test_what_is_no_signature_reads_as_none(text: str) -> None:
    """Reading a signature never raises."""
    assert Signature.parse(text) is None


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_ring_is_read_from_text_newest_first(encode: object) -> None:
    """Either base64 alphabet, with or without padding."""
    secret = bytes(range(240, 256)) + b"\xfb\xff"
    text = encode(secret).decode()  # type: ignore[operator]
    assert Keyring.parse(f" new:{text} , old:{text.rstrip('=')},").keys == (
        SigningKey("new", secret),
        SigningKey("old", secret),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2VjcmV0LXNlY3JldC1zZWNyZXQ",
        "k1:not*base64*secret",
        "k1:c2hvcnQtc2VjcmV0",
        "c2VjcmV0LXNlY3JldC1zZWNyZXQ=:k1",
        "k1:c2VjcmV0LXNlY3JldC1zZWNyZXQ,k1:c2VjcmV0LXNlY3JldC1zZWNyZXQ",
        "k1:sécret-sécret-sécret",
    ],
)
def test_a_text_that_is_no_ring_is_refused_without_showing_it(text: str) -> None:
    """The message names the entry by number, for any part of it may be the secret."""
    with pytest.raises(ConfigurationError) as refused:
        Keyring.parse(text)
    shown = str(refused.value)
    assert "secret-" not in shown
    assert "c2" not in shown
    assert "cret-s" not in shown
    assert refused.value.__cause__ is None


def test_a_ring_never_shows_its_secrets() -> None:
    """Not even in its representation."""
    assert "nnn" not in repr(Keyring((NEW,)))


def test_ephemeral_rings_do_not_believe_each_other() -> None:
    """Each process that makes its own keys trusts itself alone."""
    here, there = Keyring.ephemeral(), Keyring.ephemeral()
    assert Signer(here, ME).verify(signature(here), MEMBERS)
    assert not Signer(there, ME).verify(signature(here), MEMBERS)
    assert len(new_key().secret) == 32
