"""Which entities a request names: parameters of the paths that the service declared, and models that authenticate.

Patterns are looked up by method, number of segments and first literal, so that a service of a thousand routes pays for
the one or two that can match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from mcp_sdk.models import BusinessModel
from mcp_sdk.operations import OperationPattern

__all__ = ["EntityNames", "model_named"]


class _Naming(NamedTuple):
    """A pattern with the models that its parameters name."""

    pattern: OperationPattern
    models: Mapping[str, BusinessModel]


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

    def __init__(self, models: Mapping[str, BusinessModel], operations: Iterable[OperationPattern], version: Any) -> None:
        self.version = version
        self.principals = {name: model for name, model in models.items() if model.principal}
        self._exact: dict[tuple[str, int, str], list[_Naming]] = {}
        self._rest: list[_Naming] = []
        for pattern in operations:
            self._add(pattern, models)

    def _add(self, pattern: OperationPattern, models: Mapping[str, BusinessModel]) -> None:
        named = {name: model for name in pattern.params if name and (model := model_named(name, models)) is not None}
        if not named:
            return
        if pattern.rest or not pattern.segments:
            self._rest.append(_Naming(pattern, named))
        else:
            first = "" if pattern.params[0] else pattern.segments[0]
            self._exact.setdefault((pattern.method, len(pattern.segments), first), []).append(_Naming(pattern, named))

    def entities(self, operation: str) -> Iterator[tuple[BusinessModel, str]]:
        """Give the models and ids, as the application writes them, that ``METHOD /path`` names."""
        for naming in self._candidates(operation):
            values = naming.pattern.match(operation)
            if values is not None:
                yield from ((model, values[name]) for name, model in naming.models.items())

    def _candidates(self, operation: str) -> Iterator[_Naming]:
        if self._exact:
            method, _, path = operation.partition(" ")
            parts = path.split("/")[1:]
            if parts and not parts[-1]:
                parts.pop()
            for verb in (method.upper(), "*"):
                for first in {unquote(parts[0]) if parts else "", ""}:
                    yield from self._exact.get((verb, len(parts), first), ())
        yield from self._rest
