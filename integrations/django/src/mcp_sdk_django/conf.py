"""The setting ``MCP_SDK``: the mesh's own settings as a dict, or the dotted path of a ``Mesh``."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string

from mcp_sdk import ConfigurationError, Mesh
from mcp_sdk_django.commits import TransactionCommits
from mcp_sdk_django.rows import LoadedRows

__all__ = ["SETTING", "get_mesh", "make_mesh", "mesh", "option"]

SETTING = "MCP_SDK"
OPTIONS = ("PRINCIPAL", "GEO")


@cache
def get_mesh() -> Mesh:
    """Give the mesh of the settings, made once; raises ``ImproperlyConfigured`` with what to write.

    Models are declared on it when they are imported, so a setting that changes later changes nothing.
    """
    found = make_mesh()
    found.on_commit(TransactionCommits())
    found.models.member = LoadedRows(found.models.member)
    return found


def option(name: str) -> Any:
    """Give what an option of the setting names by its dotted path, or None: ``PRINCIPAL`` or ``GEO``."""
    value = getattr(settings, SETTING, {})
    path = value.get(name) if isinstance(value, dict) else None
    return import_string(path) if isinstance(path, str) else path


def make_mesh() -> Mesh:
    """Make a mesh as the setting says now, or give the one that it names; raises ``ImproperlyConfigured``."""
    value = getattr(settings, SETTING, {})
    if isinstance(value, str):
        value = _imported(value)
    if isinstance(value, Mesh):
        return value
    if not isinstance(value, dict):
        raise ImproperlyConfigured(f"{SETTING} is {value!r}; it is a dict of settings or the dotted path of a Mesh")
    try:
        return Mesh.from_env(**{name.lower(): one for name, one in value.items() if name not in OPTIONS})
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"{SETTING}: {error}") from error


def _imported(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{SETTING} is {path!r}, which cannot be imported: {error}") from error


mesh: Mesh = SimpleLazyObject(get_mesh)
"""The mesh of the settings, made when it is first used: ``@mesh.model(...)`` in ``models.py``, ``mesh.bind(order)``."""
