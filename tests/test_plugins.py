"""Look-up of stores and control planes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mcp_sdk import _plugins
from mcp_sdk.exceptions import UnknownPlugin


def test_ours_are_installed_like_anybodys() -> None:
    """The memory and SQLite control planes are found by entry point."""
    assert callable(_plugins.load(_plugins.CONTROL_PLANES, "sqlite:///mesh.db"))
    assert callable(_plugins.load(_plugins.STORES, "memory:"))


def test_an_unknown_scheme_names_what_is_installed_and_hides_the_url() -> None:
    """The error lists the installed ones, and shows no password."""
    with pytest.raises(UnknownPlugin) as caught:
        _plugins.load(_plugins.STORES, "etcd://user:secret@host/0")
    assert "no store for 'etcd'. Installed: memory, " in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["foo://x", "https://mesh.internal", "etcd://host"])
def test_no_package_is_named_that_is_not_of_this_project(url: str) -> None:
    """Anybody could register the name, and have it installed by who reads the error."""
    with pytest.raises(UnknownPlugin) as caught:
        _plugins.load(_plugins.STORES, url)
    assert "pip install" not in str(caught.value)


def test_a_server_is_no_store_and_that_is_said() -> None:
    """Whoever names one to ``mcpctl serve`` takes it for the place where things are kept."""
    with pytest.raises(UnknownPlugin, match=r"no store for 'https'\. That is the address of a server, which keeps"):
        _plugins.load(_plugins.STORES, "https://mesh.internal")


def test_a_package_of_this_project_is_named_where_it_is_not_installed() -> None:
    """By its scheme, and beside the others for a scheme that is nobody's."""
    said = " Installed: memory. Install one with: pip install mcp-sdk-redis"
    assert _plugins._mend("rediss", ["memory"], "memory") == said
    assert "redis (mcp-sdk-redis), " in _plugins._mend("foo", ["memory"], "memory")
    assert ", rediss (mcp" not in _plugins._mend("foo", ["rediss"], "rediss")


def test_the_packages_that_are_named_are_those_that_bring_a_store() -> None:
    """With each of their schemes, so that the table holds when a package gets another one."""
    brought = {}
    for file in (Path(__file__).parents[1] / "integrations").glob("*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        brought |= dict.fromkeys(project.get("entry-points", {}).get(_plugins.STORES, ()), project["name"])
    assert brought == _plugins.OURS
