"""What integrations read from a framework's settings: a mesh, and functions by their dotted paths."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pkgutil import resolve_name
from typing import Any

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.mesh import Mesh

__all__ = ["read_mesh", "read_option"]


def read_mesh(setting: Any, *, name: str = "MCP_SDK", apart: Collection[str] = ()) -> Mesh:
    """Make a mesh from a mapping of settings in upper or lower case, or give the one that a dotted path names.

    The environment counts too, as in ``Mesh.from_env``; ``apart`` are keys that are not the mesh's. Raises
    ``ConfigurationError`` with the ``name`` of the setting, the value and how to write it.
    """
    found = _named(setting, name)
    if isinstance(found, Mesh):
        return found
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{name} is {found!r}; it is a mapping of settings or the dotted path of a Mesh")
    try:
        return Mesh.from_env(**{key.lower(): value for key, value in found.items() if key not in apart})
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from error


def read_option(setting: Any, key: str, *, name: str = "MCP_SDK") -> Callable[..., Any] | None:
    """Give the function that stands apart in such a mapping, or that a dotted path there names; None without one.

    Raises ``ConfigurationError`` as ``read_mesh`` does.
    """
    value, where = setting.get(key) if isinstance(setting, Mapping) else None, f"{name}[{key!r}]"
    found = _named(value, where)
    if found is None or callable(found):
        return found
    raise ConfigurationError(f"{where} is {found!r}, which cannot be called; write a function, or its dotted path")


def _named(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return resolve_name(value)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{where} is {value!r}, which cannot be imported: {error}") from error
