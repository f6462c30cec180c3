"""Where a request comes from: the caller's address behind trusted proxies, and what a MaxMind database says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

from mcp_sdk.decisions import Geo
from mcp_sdk.exceptions import ConfigurationError, MissingExtra

__all__ = ["NOWHERE", "GeoDatabase", "GeoReader", "client_address", "parse_geo"]

NOWHERE = Geo()
GeoReader = Callable[[str], Geo]


def client_address(peer: str, forwarded: str, trusted: int) -> str:
    """Give the caller's address: the entry of ``X-Forwarded-For`` that the outermost of ``trusted`` proxies wrote.

    Each proxy appends the address that it was called from, so entries left of the trusted ones are the caller's own
    words and are not looked at. A header that is shorter than that did not come through the proxies: the peer's address
    stands.
    """
    if trusted <= 0 or not forwarded:
        return peer
    entries = [entry.strip() for entry in forwarded.split(",")]
    return (_address(entries[-trusted]) or peer) if len(entries) >= trusted else peer


def _address(entry: str) -> str:
    host = entry[1:].partition("]")[0] if entry.startswith("[") else entry
    host = host.partition(":")[0] if host.count(":") == 1 else host
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


def parse_geo(text: str) -> Geo:
    """Read a country as ISO 3166-1 (``DE``) or a subdivision as ISO 3166-2 (``DE-BY``); anything else is nowhere."""
    country, _, region = text.strip().upper().partition("-")
    if len(country) != 2 or not (country.isascii() and country.isalpha()):
        return NOWHERE
    return Geo(country=country, region=region if region.isascii() and region.isalnum() and len(region) <= 3 else "")


class GeoDatabase:
    """A MaxMind database (GeoLite2-City, GeoLite2-Country or one like them), asked by address.

    Raises ``MissingExtra`` without ``maxminddb``, and ``ConfigurationError`` for a file that cannot be read. The file
    is mapped into memory, so forked workers share it.
    """

    def __init__(self, path: str, *, cached: int = 4096) -> None:
        try:
            maxminddb = import_module("maxminddb")
        except ModuleNotFoundError as error:
            raise MissingExtra("maxminddb", extra="geo", purpose="geo_database") from error
        try:
            self._database = maxminddb.open_database(path)
        except (OSError, maxminddb.InvalidDatabaseError, ValueError) as error:
            raise ConfigurationError(f"geo_database={path!r} cannot be read as a MaxMind database: {error}") from error
        self._look_up = lru_cache(cached)(self._find)

    def __call__(self, address: str) -> Geo:
        """Give where an address is; nowhere when it is not in the database, or is no address."""
        return self._look_up(address)

    def _find(self, address: str) -> Geo:
        try:
            record = self._database.get(address)
        except ValueError:
            return NOWHERE
        return _geo(record) if isinstance(record, Mapping) else NOWHERE


def _geo(record: Mapping[str, Any]) -> Geo:
    subdivisions: Sequence[Mapping[str, Any]] = record.get("subdivisions") or ({},)
    return Geo(
        country=str(record.get("country", {}).get("iso_code", "")),
        region=str(subdivisions[0].get("iso_code", "")),
        continent=str(record.get("continent", {}).get("code", "")),
        city=str(record.get("city", {}).get("names", {}).get("en", "")),
    )
