"""Questions of which some facts are unknown: reading one stops the decision, for the answer would be a guess."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest

__all__ = ["Unknown", "guarded"]


class Unknown(BaseException):
    """A condition read a fact that is unknown; ``name`` is as conditions write it.

    No ``Exception``, for the engine takes any of those for a CEL error and answers by the rules for errors.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


def guarded(request: DecisionRequest, unknown: Iterable[str]) -> DecisionRequest:
    """Give a request whose facts of these names raise ``Unknown`` when they are read.

    A name is that of a condition: ``request.headers``, ``principal.id``, ``now``, or a model's.
    """
    names = frozenset(unknown)
    if not names:
        return request
    sections: dict[str, Any] = {
        section: _Guarded(getattr(request, section), f"{section}.", names)
        for section in ("request", "principal", "source")
        if any(name.startswith(f"{section}.") for name in names)
    }
    made = replace(request, contexts=_Contexts(request.contexts, names), **sections)
    return cast("DecisionRequest", _Guarded(made, "", names)) if "now" in names else made


class _Guarded:
    """Something of whose attributes some are unknown."""

    __slots__ = ("_base", "_names", "_path")

    def __init__(self, base: Any, path: str, names: frozenset[str]) -> None:
        self._base, self._path, self._names = base, path, names

    def __getattr__(self, field: str) -> Any:
        name = f"{self._path}{field}"
        if name in self._names:
            raise Unknown(name)
        value = getattr(self._base, field)
        inner = f"{name}."
        return _Guarded(value, inner, self._names) if any(one.startswith(inner) for one in self._names) else value


class _Contexts(dict[str, ModelContext]):
    """Contexts by model, some of them unknown."""

    def __init__(self, contexts: Any, names: frozenset[str]) -> None:
        super().__init__(contexts)
        self._names = names

    def _check(self, model: Any) -> None:
        if model in self._names:
            raise Unknown(model)

    def __getitem__(self, model: str) -> ModelContext:
        self._check(model)
        return super().__getitem__(model)

    def __contains__(self, model: object) -> bool:
        self._check(model)
        return super().__contains__(model)

    def get(self, model: str, default: Any = None) -> Any:
        """Give a context, as ``dict.get`` does."""
        self._check(model)
        return super().get(model, default)
