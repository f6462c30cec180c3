"""Look-up of stores and control planes."""

from __future__ import annotations

import pytest

from mcp_sdk import _plugins
from mcp_sdk.exceptions import UnknownPlugin


def test_ours_are_installed_like_anybodys() -> None:
    """The memory and SQLite control planes are found by entry point."""
    assert callable(_plugins.load(_plugins.CONTROL_PLANES, "sqlite:///mesh.db"))
    assert callable(_plugins.load(_plugins.STORES, "memory:"))


def test_an_unknown_scheme_names_what_is_installed_and_hides_the_url() -> None:
    """The error lists the installed ones, says what to install, and shows no password."""
    with pytest.raises(UnknownPlugin) as caught:
        _plugins.load(_plugins.STORES, "etcd://user:secret@host/0")
    assert "no store for 'etcd'. Installed: memory, " in str(caught.value)
    assert "secret" not in str(caught.value)
