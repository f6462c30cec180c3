"""Where a request comes from."""

import asyncio
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import call, scope_of, signed

from mcp_sdk import ConfigurationError
from mcp_sdk.decisions import Geo
from mcp_sdk.middleware import GeoDatabase, MeshMiddleware
from mcp_sdk.middleware.geo import NOWHERE, client_address, parse_geo


def encoded(value):
    """Write a value as the MaxMind DB format does (maps, texts, arrays, and unsigned integers as (number, bits))."""
    if isinstance(value, dict):
        return bytes([0xE0 | len(value)]) + b"".join(encoded(part) for pair in value.items() for part in pair)
    if isinstance(value, str):
        return bytes([0x40 | len(value)]) + value.encode()
    if isinstance(value, list):
        return bytes([len(value), 0x04]) + b"".join(map(encoded, value))
    number, bits = value
    raw = number.to_bytes(8, "big").lstrip(b"\0")
    return {16: bytes([0xA0 | len(raw)]), 32: bytes([0xC0 | len(raw)]), 64: bytes([len(raw), 2])}[bits] + raw


RECORD = {
    "continent": {"code": "EU"},
    "country": {"iso_code": "DE"},
    "subdivisions": [{"iso_code": "BY"}],
    "city": {"names": {"en": "Munich"}},
}


@pytest.fixture
def database(tmp_path):
    """Write a database in the MaxMind DB format 2.0 that holds 10.0.0.0/8 alone, and give its path."""
    bits = [int(bit) for bit in f"{int(ipaddress.ip_address('10.0.0.0')):032b}"[:8]]
    count = len(bits)
    nodes = b""
    for depth, bit in enumerate(bits):
        onward = depth + 1 if depth + 1 < count else count + 16
        pair = (onward, count) if bit == 0 else (count, onward)
        nodes += b"".join(struct.pack(">I", part)[1:] for part in pair)
    meta = {
        "node_count": (count, 32),
        "record_size": (24, 16),
        "ip_version": (4, 16),
        "database_type": "Test",
        "languages": ["en"],
        "binary_format_major_version": (2, 16),
        "binary_format_minor_version": (0, 16),
        "build_epoch": (1, 64),
        "description": {"en": "t"},
    }
    path = tmp_path / "geo.mmdb"
    path.write_bytes(nodes + b"\0" * 16 + encoded(RECORD) + b"\xab\xcd\xefMaxMind.com" + encoded(meta))
    return str(path)


def test_an_address_is_found_in_the_database(database):
    """Country, subdivision, continent and city are read; what is not there is nowhere."""
    geo = GeoDatabase(database)
    assert geo("10.1.2.3") == Geo("DE", "BY", "EU", "Munich")
    assert geo("192.0.2.1") == NOWHERE
    assert geo("no address") == NOWHERE
    assert geo("::1") == NOWHERE


def test_a_file_that_is_no_database_is_refused_when_it_is_built(tmp_path):
    """The message names the setting and the path."""
    (tmp_path / "x").write_bytes(b"nonsense")
    for name in ("x", "missing"):
        with pytest.raises(ConfigurationError, match=f"geo_database=.*{name}"):
            GeoDatabase(str(tmp_path / name))


@pytest.mark.parametrize(
    ("forwarded", "trusted", "address"),
    [
        ("", 1, "peer"),
        ("203.0.113.1", 0, "peer"),
        ("203.0.113.1", 1, "203.0.113.1"),
        ("198.51.100.7, 203.0.113.1", 1, "203.0.113.1"),
        ("198.51.100.7, 203.0.113.1", 2, "198.51.100.7"),
        ("203.0.113.1", 2, "peer"),
        ("[2001:db8::1]:443", 1, "2001:db8::1"),
        ("203.0.113.1:1234", 1, "203.0.113.1"),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("unknown", 1, "peer"),
        ("1.1.1.1, <script>", 1, "peer"),
    ],
)
def test_only_trusted_proxies_say_where_a_request_comes_from(forwarded, trusted, address):
    """Entries that the caller wrote itself are not looked at."""
    assert client_address("peer", forwarded, trusted) == address


@given(st.text(), st.integers(0, 5))
def test_no_header_breaks_the_address(forwarded, trusted):
    """Whatever is sent, there is an address."""
    assert client_address("peer", forwarded, trusted)


@pytest.mark.parametrize(
    ("text", "geo"),
    [
        ("DE", Geo("DE")), ("de-by", Geo("DE", "BY")),
        ("", NOWHERE), ("DEU", NOWHERE), ("D1", NOWHERE), ("ÄÖ", NOWHERE),
        ("DE-<x>", Geo("DE")),
    ],
)  # fmt: skip
def test_a_peer_s_country_is_read_strictly(text, geo):
    """ISO 3166 codes and nothing else."""
    assert parse_geo(text) == geo


async def ok(scope, receive, send):
    """Answer 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def located(mesh, plane, *headers, **options):
    """Serve one request and give where it was seen to come from."""
    asyncio.run(call(MeshMiddleware(ok, mesh, **options), scope_of(headers=headers)))
    return plane.requests[-1].request.geo


def test_the_caller_s_address_is_looked_up(make_mesh, plane, database):
    """The database of the settings is asked, for the address that trusted proxies tell."""
    assert located(make_mesh(geo_database=database), plane).country == "DE"
    behind = make_mesh(geo_database=database, trusted_proxies=1)
    assert located(behind, plane, ("x-forwarded-for", "192.0.2.1")) == NOWHERE


def test_a_verified_peer_may_tell_the_country(make_mesh, peer, plane):
    """The header counts with a signature that holds, and with none it does not."""
    mesh = make_mesh(geo_header="X-Country")
    assert located(mesh, plane, ("x-country", "FR"), ("baggage", signed(peer))) == Geo("FR")
    assert located(mesh, plane, ("x-country", "FR")) == NOWHERE


def test_an_application_s_own_reader_is_asked(mesh, plane):
    """``geo=`` takes any function of an address; one that fails is nowhere."""
    assert located(mesh, plane, geo=lambda address: Geo("CH", city=address)) == Geo("CH", city="10.0.0.9")
    assert located(mesh, plane, geo=lambda _: 1 / 0) == NOWHERE
