"""The setting ``MCP_SDK``: the mesh's own settings as a dict, or the dotted path of a ``Mesh``."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

from mcp_sdk import ConfigurationError, Mesh
from mcp_sdk.middleware import read_mesh, read_option
from mcp_sdk_django.database import TransactionCommits, look

__all__ = ["OPTIONS", "SETTING", "get_mesh", "make_mesh", "mesh", "option"]

SETTING = "MCP_SDK"
OPTIONS = ("PRINCIPAL", "GEO")


@cache
def get_mesh() -> Mesh:
    """Give the mesh of the settings, made once; raises ``ImproperlyConfigured`` with what to write.

    Models are declared on it when they are imported, so a setting that changes later changes nothing.
    """
    found = make_mesh()
    found.on_commit(TransactionCommits())
    found.models.look_first(look)
    return found


def make_mesh() -> Mesh:
    """Make a mesh as the setting says now, or give the one that it names; raises ``ImproperlyConfigured``."""
    try:
        return read_mesh(_setting(), name=SETTING, apart=OPTIONS)
    except ConfigurationError as error:
        raise ImproperlyConfigured(str(error)) from error


def option(name: str) -> Any:
    """Give the function of an option, ``PRINCIPAL`` or ``GEO``, or None; raises ``ImproperlyConfigured``."""
    try:
        return read_option(_setting(), name, name=SETTING)
    except ConfigurationError as error:
        raise ImproperlyConfigured(str(error)) from error


def _setting() -> Any:
    return getattr(settings, SETTING, {})


mesh: Mesh = SimpleLazyObject(get_mesh)
"""The mesh of the settings, made when it is first used: ``@mesh.model(...)`` in ``models.py``, ``mesh.bind(order)``."""
