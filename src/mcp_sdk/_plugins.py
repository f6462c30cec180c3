"""Look-up of stores, control planes and commands in entry points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp_sdk.exceptions import MissingExtra, UnknownPlugin, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection
    from importlib.metadata import EntryPoint

__all__ = ["CONTROL_PLANES", "STORES", "load"]

CONTROL_PLANES = "mcp_sdk.control_planes"
STORES = "mcp_sdk.stores"
OURS = {
    "postgresql": "mcp-sdk-postgres",
    "postgres": "mcp-sdk-postgres",
    "redis": "mcp-sdk-redis",
    "rediss": "mcp-sdk-redis",
    "redis+cluster": "mcp-sdk-redis",
    "rediss+cluster": "mcp-sdk-redis",
    "nats": "mcp-sdk-nats",
    "tls+nats": "mcp-sdk-nats",
}
"""Schemes of other packages of this project. Of no other is a package named: anybody could own it."""


def load(group: str, url: str) -> Any:
    """Give what is registered in ``group`` under the scheme of ``url``.

    Raises ``UnknownPlugin`` that names what is installed, and ``MissingExtra`` when the plug-in is there but what it
    needs is not. The URL itself is never shown: it may hold a password.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - a third of the package's import time, needed once at start

    scheme = url.partition(":")[0].lower()
    found = {entry.name: entry for entry in entry_points(group=group)}
    if scheme not in found:
        kind = group.rpartition(".")[2].removesuffix("s").replace("_", " ")
        known = ", ".join(sorted(found)) or "none"
        if "://" not in url:
            raise UnknownPlugin(
                f"a {kind} is named by a URL, e.g. sqlite:///mesh.db or http://127.0.0.1:8600. Installed: {known}."
            )
        raise UnknownPlugin(f"no {kind} for {scheme!r}.{_mend(scheme, found, known)}")
    return _load(found[scheme])


def _mend(scheme: str, found: Collection[str], known: str) -> str:
    if scheme in OURS:
        return f" Installed: {known}. Install one with: pip install {OURS[scheme]}"
    if scheme in ("http", "https"):
        return f" That is the address of a server, which keeps everything in a store of its own. Installed: {known}."
    nearest = did_you_mean(scheme, {*found, *OURS})
    if "Did you mean" in nearest:
        return nearest
    brought = ", ".join(f"{name} ({package})" for name, package in sorted(OURS.items()) if name not in found)
    return f" Installed: {known}." + (f" Packages of this project bring others: {brought}." if brought else "")


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        raise MissingExtra(
            error.name or "a package", extra=entry.name, purpose=f"{entry.group} {entry.name!r}"
        ) from error
