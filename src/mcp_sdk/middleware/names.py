"""Which entities a request names: parameters of the paths that the service declared, and models that authenticate.

Patterns are looked up by method, number of segments and first literal, so that a service of a thousand routes pays for
the one or two that can match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from mcp_sdk.models import BusinessModel
from mcp_sdk.operations import OperationPattern

__all__ = ["EntityNames", "model_named"]


class _Naming(NamedTuple):
    """A pattern's literal segments and the models that its parameters name, both with their places."""

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
        self.principals = {name: model for name, model in models.items() if model.principal}
        self._exact: dict[tuple[str, int, str], list[_Naming]] = {}
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
        literals = tuple((at, pattern.segments[at]) for at, name in places if not name)
        naming = _Naming(literals, tuple((at, named[name]) for at, name in places if name in named))
        first = "" if pattern.params[0] else pattern.segments[0]
        self._exact.setdefault((pattern.method, len(places), first), []).append(naming)

    def entities(self, operation: str) -> list[tuple[BusinessModel, str]]:
        """Give the models and ids, as the application writes them, that ``METHOD /path`` names."""
        found: list[tuple[BusinessModel, str]] = []
        if self._exact:
            self._look_up(operation, found)
        for pattern, models in self._rest:
            values = pattern.match(operation)
            if values is not None:
                found += [(model, values[name]) for name, model in models.items()]
        return found

    def _look_up(self, operation: str, found: list[tuple[BusinessModel, str]]) -> None:
        method, _, path = operation.partition(" ")
        parts = path.split("/")[1:]
        if parts and not parts[-1]:
            parts.pop()
        if "%" in path:
            parts = [unquote(part) for part in parts]
        first, count = parts[0] if parts else "", len(parts)
        for key in ((method, count, first), (method, count, ""), ("*", count, first), ("*", count, "")):
            for naming in self._exact.get(key, ()):
                if all(parts) and all(parts[at] == text for at, text in naming.literals):
                    found += [(model, parts[at]) for at, model in naming.models]
