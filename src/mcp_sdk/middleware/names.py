"""Which entities a request names: parameters of the paths that the service declared, and models that authenticate.

Patterns are looked up by method, number of segments and first literal, so that a service of a thousand routes pays for
the one or two that can match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mcp_sdk.facts import operation_of
from mcp_sdk.models import BusinessModel
from mcp_sdk.operations import OperationPattern

__all__ = ["EntityNames", "model_named"]


class _Naming(NamedTuple):
    """A pattern's method, its further literal segments and the models that its parameters name, with their places."""

    method: str
    literals: tuple[tuple[int, str], ...]
    models: tuple[tuple[int, BusinessModel], ...]


def model_named(parameter: str, models: Mapping[str, BusinessModel]) -> BusinessModel | None:
    """Give the model whose entity a parameter names: ``order``, ``order_id`` or ``order_<key>``."""
    found = models.get(parameter)
    if found is not None:
        return found
    for model in models.values():
        if parameter in (f"{model.name}_id", f"{model.name}_{model.key}"):
            return model
    return None


class EntityNames:
    """The names as of one ``version`` of the mesh's models and operations, whatever the caller tells versions by."""

    def __init__(
        self, models: Mapping[str, BusinessModel], operations: Iterable[OperationPattern], version: Any
    ) -> None:
        self.version = version
        self.principals: dict[str, BusinessModel] = {name: model for name, model in models.items() if model.principal}
        self._exact: dict[tuple[int, str], list[_Naming]] = {}
        self._rest: list[tuple[OperationPattern, Mapping[str, BusinessModel]]] = []
        for pattern in operations:
            self._add(pattern, models)

    def _add(self, pattern: OperationPattern, models: Mapping[str, BusinessModel]) -> None:
        named = {name: model for name in pattern.params if name and (model := model_named(name, models)) is not None}
        if not named:
            return
        if pattern.rest:
            self._rest.append((pattern, named))
            return
        places = tuple(enumerate(pattern.params))
        literals = tuple((at, pattern.segments[at]) for at, name in places if at and not name)
        naming = _Naming(pattern.method, literals, tuple((at, named[name]) for at, name in places if name in named))
        first = "" if pattern.params[0] else pattern.segments[0]
        namings = self._exact.setdefault((len(places), first), [])
        namings.append(naming)
        namings.sort(key=lambda naming: naming.method == "*")

    def entities(self, method: str, path: str) -> list[tuple[BusinessModel, str]]:
        """Give the models and ids, as the application writes them, that a request's method and decoded path name."""
        found: list[tuple[BusinessModel, str]] = []
        if self._exact:
            self._look_up("GET" if method == "HEAD" else method, path, found)
        for pattern, models in self._rest:
            values = pattern.match(operation_of(method, path))
            if values is not None:
                found += [(model, values[name]) for name, model in models.items()]
        return found

    def _look_up(self, method: str, path: str, found: list[tuple[BusinessModel, str]]) -> None:
        parts = path.split("/")
        if not parts[-1]:
            parts.pop()
        del parts[:1]
        if not parts or "" in parts:
            return
        for first in (parts[0], ""):
            for naming in self._exact.get((len(parts), first), ()):
                if naming.method in (method, "*") and (not naming.literals or _fits(parts, naming.literals)):
                    found += [(model, parts[at]) for at, model in naming.models]


def _fits(parts: list[str], literals: tuple[tuple[int, str], ...]) -> bool:
    return all(parts[at] == text for at, text in literals)
