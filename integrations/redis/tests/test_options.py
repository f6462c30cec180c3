"""What the URL of a store says."""

from __future__ import annotations

import pytest
from mcp_sdk_redis import Options, connect
from mcp_sdk_redis.options import parse

from mcp_sdk._plugins import CONTROL_PLANES, STORES, load
from mcp_sdk.exceptions import ConfigurationError


def test_a_url_says_where_the_server_is():
    """Host, port, database, user and password are read, percent-encoding too; what is missing has a default."""
    assert parse("redis://ann:p%40ss@shop.example:7000/3") == Options(
        "shop.example", 7000, 3, "ann", "p@ss", secure=False
    )
    assert parse("redis://127.0.0.1") == Options()
    assert parse("rediss://[::1]:7000?ssl_ca_certs=/ca.pem&ssl_check_hostname=false") == Options(
        "::1", 7000, secure=True, tls={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}
    )


def test_options_stand_in_the_query():
    """The prefix, the timeout, the bounds of the log and the replicas are read."""
    url = "redis://h?prefix=shop&timeout=0.5&log_age=60&log_size=10&replicas=2"
    assert parse(url) == Options("h", prefix="shop", timeout=0.5, log_age=60.0, log_size=10, replicas=2)
    assert parse("redis+cluster://h").cluster


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis:", "is written redis://"),
        ("redis://h:port", "host and port"),
        ("redis://h/shop", "'shop' is no number"),
        ("redis://h?prefx=a", "unknown option 'prefx'.*prefix, timeout"),
        ("redis://h?prefix={a}", "a name without braces"),
        ("redis://h?timeout=0", "timeout='0'.*more than 0"),
        ("redis://h?timeout=nan", "timeout='nan'"),
        ("redis://h?log_size=many", "a number of changes"),
        ("redis+cluster://h/1", "only database 0"),
        ("redis+cluster://h?replicas=1", "min-replicas-to-write"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url, told):
    """The message says what is wrong and how to write it, and never shows the password."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        connect(url.replace("//h", "//:secret@h"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+cluster"])
def test_every_scheme_is_registered(scheme):
    """The schemes name a store and the embedded control plane on it."""
    assert load(STORES, f"{scheme}://h") is connect
    assert load(CONTROL_PLANES, f"{scheme}://h").__module__ == "mcp_sdk.control.local"
