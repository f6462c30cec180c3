"""``Setting``: what a framework's settings say of a mesh, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any, NamedTuple

from mcp_sdk.capture import check_declarations
from mcp_sdk.exceptions import ConfigurationError, MeshError
from mcp_sdk.mesh import Mesh

__all__ = ["Problem", "Setting"]

OPTIONS = ("PRINCIPAL", "GEO")


class Problem(NamedTuple):
    """What is wrong, and how to mend it; ``kind`` is ``setting``, ``option`` or ``declaration``."""

    kind: str
    text: str
    hint: str


class Setting:
    """A setting of a framework: a mapping of the mesh's settings in upper case, a ``Mesh``, or the dotted path of one.

    ``read`` gives its value as it is now; ``name`` is what it is called, for errors. Two keys of a mapping stand apart:
    ``PRINCIPAL`` and ``GEO``, functions or their dotted paths, which the middleware takes.
    """

    def __init__(self, name: str, read: Callable[[], Any]) -> None:
        self.name = name
        self._read = read

    def mesh(self) -> Mesh:
        """Make the mesh, from the environment too as ``Mesh.from_env`` does, or give the one that is named.

        Raises ``ConfigurationError`` with the setting, the value and how to write it.
        """
        found = _named(self._read(), self.name)
        if isinstance(found, Mesh):
            return found
        if not isinstance(found, Mapping):
            raise ConfigurationError(f"{self.name} is {found!r}; it is a dict of settings or the dotted path of a Mesh")
        try:
            return Mesh.from_env(**{key.lower(): value for key, value in found.items() if key not in OPTIONS})
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.name}: {error}") from error

    def option(self, key: str) -> Callable[..., Any] | None:
        """Give the function that stands under a key; None without one. Raises ``ConfigurationError``."""
        value, where = self._read(), f"{self.name}[{key!r}]"
        found = _named(value.get(key), where) if isinstance(value, Mapping) else None
        if found is None or callable(found):
            return found
        raise ConfigurationError(f"{where} is {found!r}, which cannot be called")

    def problems(self, mesh: Callable[[], Mesh]) -> list[Problem]:
        """Find what could only go wrong later, in the decorators of this process too.

        ``mesh`` gives the one in use; it is called where the setting is right.
        """
        example = f'Write {self.name} = {{"SERVICE": "orders"}}, or {self.name} = "shop.mesh.mesh".'
        found = _tried("setting", self.mesh, example)
        if found:
            return found
        for key in OPTIONS:
            found += _tried("option", partial(self.option, key), "Write a function, or its dotted path.")
        mend = "Declare the model with @mesh.model(...), or mend the decorator."
        return found + _tried("declaration", lambda: check_declarations(mesh().models), mend)


def _tried(kind: str, attempt: Callable[[], object], hint: str) -> list[Problem]:
    try:
        attempt()
    except MeshError as error:
        return [Problem(kind, str(error), hint)]
    return []


def _named(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return resolve_name(value)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{where} is {value!r}, which cannot be imported: {error}") from error
