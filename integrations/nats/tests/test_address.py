"""URLs of NATS: what they say, and what is refused."""

from __future__ import annotations

import pytest
from mcp_sdk_nats.address import Address, parse

from mcp_sdk.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("nats://localhost", Address(("nats://localhost:4222",), "localhost")),
        ("nats://a:1,b/shop", Address(("nats://a:1", "nats://b:4222"), "a:1,b", "shop")),
        ("tls+nats://[::1]:4223/x-y", Address(("tls://[::1]:4223",), "[::1]:4223", "x-y")),
        ("nats://ann:p%40ss@a", Address(("nats://a:4222",), "a", user="ann", password="p@ss")),
        ("nats://to%2Fken@a", Address(("nats://a:4222",), "a", token="to/ken")),
        ("nats://a/m?replicas=3&credentials=/c", Address(("nats://a:4222",), "a", "m", credentials="/c", replicas=3)),
    ],
)
def test_urls_say_servers_login_and_name(url, address):
    """Several servers share a login and a name; what is left out has a default."""
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "nats:",
        "nats:///mesh",
        "nats://ann:secret@",
        "nats://ann:secret@a/b/c",
        "nats://ann:secret@a/b.c",
        "nats://ann:secret@a/*",
        "nats://ann:secret@a:port",
        "nats://ann:secret@a?replicas=9",
        "nats://ann:secret@a?replica=3",
        "http://ann:secret@a",
    ],
)
def test_what_cannot_work_is_refused_without_the_password(url):
    """The message says how to mend it, and never shows who logs in how."""
    with pytest.raises(ConfigurationError) as caught:
        parse(url)
    assert "secret" not in str(caught.value)
