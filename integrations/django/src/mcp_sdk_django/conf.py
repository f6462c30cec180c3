"""The setting ``MCP_SDK``: the mesh's own settings as a dict, or the dotted path of a ``Mesh``."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

from mcp_sdk import ConfigurationError, Mesh
from mcp_sdk.middleware import Setting
from mcp_sdk_django.database import TransactionCommits, look

__all__ = ["get_mesh", "mesh", "setting"]

setting = Setting("MCP_SDK", lambda: getattr(settings, "MCP_SDK", {}))


@cache
def get_mesh() -> Mesh:
    """Give the mesh of the settings, made once; raises ``ImproperlyConfigured`` with what to write.

    Models are declared on it when they are imported, so a setting that changes later changes nothing.
    """
    try:
        found = setting.mesh()
    except ConfigurationError as error:
        raise ImproperlyConfigured(str(error)) from error
    found.on_commit(TransactionCommits())
    found.models.look_first(look)
    return found


mesh: Mesh = SimpleLazyObject(get_mesh)
"""The mesh of the settings, made when it is first used: ``@mesh.model(...)`` in ``models.py``, ``mesh.bind(order)``."""
