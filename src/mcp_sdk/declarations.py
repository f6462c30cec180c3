"""What a capture decorator was told, checked as far as the signature goes, and how it finds its entity among arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple
from weakref import WeakSet

from mcp_sdk.exceptions import ModelError, UnknownModel, did_you_mean
from mcp_sdk.models import BusinessModel, state_name
from mcp_sdk.registry import Registry

__all__ = ["Declaration", "Parameters", "Plan", "Subject", "check_declarations", "declare"]

Target = str | type | Enum | None
State = str | Enum | Callable[[Any], "str | Enum | None"] | None


class Subject(NamedTuple):
    """An entity that a call is about: its model, the object that holds it (or None), its id as the application writes it."""

    model: BusinessModel
    subject: Any
    raw_id: Any


class Parameters:
    """A function's parameters by name, so that a call's arguments are found without binding the signature."""

    __slots__ = ("_positions", "variadic")

    def __init__(self, function: Callable[..., Any]) -> None:
        found = inspect.signature(function).parameters.values()
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._positions = {spec.name: i if spec.kind in positional else -1 for i, spec in enumerate(found)}
        self.variadic = any(spec.kind is inspect.Parameter.VAR_KEYWORD for spec in found)

    def __contains__(self, name: str) -> bool:
        return name in self._positions or self.variadic

    @property
    def names(self) -> Iterable[str]:
        """The names, in order."""
        return self._positions

    def get(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Give an argument of a call, or None where it was left out."""
        position = self._positions.get(name, -1)
        return args[position] if 0 <= position < len(args) else kwargs.get(name)


@dataclass(frozen=True, eq=False)
class Declaration:
    """What one decorator was told.

    ``target`` names the model by its name, its class or a member of its Enum of states; None is every argument of a declared
    class. ``state`` is a state's name or a function of the result. ``carry`` makes the calls below carry the entity, which
    ``@model_context`` does and ``@context_observer`` does not.
    """

    target: Target
    state: str | Callable[[Any], Any] | None
    from_states: frozenset[str]
    on_error: str | None
    id: str | Callable[..., Any] | None
    carry: bool
    span: bool
    where: str
    operation: str
    parameters: Parameters

    def model_name(self, registry: Registry) -> str | None:
        """Give the model's name in a registry; raises ``UnknownModel`` for a class or Enum that declares none."""
        if self.target is None or (isinstance(self.target, str) and not isinstance(self.target, Enum)):
            return self.target
        if isinstance(self.target, Enum):
            return self._known(registry.of_enum(type(self.target)), type(self.target), registry)
        found = registry.of_type(self.target)
        return self._known(found.name if found is not None else None, self.target, registry)

    def _known(self, name: str | None, cls: type, registry: Registry) -> str:
        if name is None:
            raise UnknownModel(cls.__name__, registry, where=self.where)
        return name

    def check(self, registry: Registry) -> None:
        """Check the names of model and states; raises ``UnknownModel`` or ``UnknownState`` with the decorator's place."""
        name = self.model_name(registry)
        if name is None:
            return
        model = registry.named(name, where=self.where)
        static = self.state if isinstance(self.state, str) else None
        for state in (*self.from_states, *filter(None, (static, self.on_error))):
            model.check_state(state, where=self.where)


_declared: WeakSet[Declaration] = WeakSet()


def declare(function: Callable[..., Any], target: Target, *, carry: bool, options: Mapping[str, Any]) -> Declaration:
    """Make a declaration for ``function``; raises ``ModelError`` with file:line:column for one that cannot work."""
    where = _place(function)
    parameters = Parameters(function)
    state = options.get("state", target if isinstance(target, Enum) else None)
    try:
        declaration = Declaration(
            target=target,
            state=state if callable(state) and not isinstance(state, Enum) else _optional_state(state),
            from_states=_states(options.get("from_")),
            on_error=_optional_state(options.get("on_error")),
            id=_check_id(options.get("id"), parameters, where),
            carry=carry,
            span=bool(options.get("span")),
            where=where,
            operation=f"{function.__module__}.{function.__qualname__}",
            parameters=parameters,
        )
    except ModelError as error:
        raise error if str(error).startswith(where) else ModelError(f"{where}: {error}") from None
    _declared.add(declaration)
    return declaration


def check_declarations(registry: Registry) -> None:
    """Check every decorator of this process against the declared models; a registry without models accepts them all."""
    if registry.open:
        return
    for declaration in list(_declared):
        declaration.check(registry)


def _place(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}:1" if code is not None else repr(function)


def _optional_state(state: Any) -> str | None:
    return None if state is None else state_name(state)


def _states(states: Any) -> frozenset[str]:
    if states is None:
        return frozenset()
    return frozenset({state_name(states)} if isinstance(states, (str, Enum)) else map(state_name, states))


def _check_id(rule: Any, parameters: Parameters, where: str) -> str | Callable[..., Any] | None:
    if rule is None or callable(rule):
        return rule
    root = rule.partition(".")[0]
    if root not in parameters:
        raise ModelError(f"{where}: id={rule!r} starts at {root!r}, which is no parameter.{did_you_mean(root, parameters.names)}")
    return str(rule)


class Plan:
    """A declaration resolved against one registry: how to find, in a call, the entities that it is about."""

    __slots__ = ("_keys", "_registry", "declaration", "model", "version")

    def __init__(self, declaration: Declaration, registry: Registry) -> None:
        self.declaration = declaration
        self._registry = registry
        self.version = registry.version
        name = declaration.model_name(registry)
        self.model = registry.named(name, where=declaration.where) if name is not None else None
        self._keys = self._id_parameters()

    def _id_parameters(self) -> tuple[str, ...]:
        if self.model is None:
            return ()
        candidates = dict.fromkeys((f"{self.model.name}_{self.model.key}", f"{self.model.name}_id"))
        return tuple(name for name in candidates if name in self.declaration.parameters)

    def subjects(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Subject]:
        """Give the entities of a call; with a named model exactly one, whose id may be unknown yet (None)."""
        if self.model is None:
            return self._of_declared_classes(args, kwargs)
        found = self._object(self.model, args, kwargs)
        return [Subject(self.model, found, self._raw_id(self.model, found, args, kwargs))]

    def _of_declared_classes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Subject]:
        of_type, read = self._registry.of_type, self._registry.member
        found = ((of_type(type(value)), value) for value in (*args, *kwargs.values()))
        return [Subject(model, value, read(value, model.key)) for model, value in found if model is not None]

    def _object(self, model: BusinessModel, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if model.python_type is not None:
            for value in (*args, *kwargs.values()):
                if isinstance(value, model.python_type):
                    return value
        named = self.declaration.parameters.get(model.name, args, kwargs)
        return named if isinstance(named, Mapping) or hasattr(named, model.key) else None

    def _raw_id(self, model: BusinessModel, found: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        rule = self.declaration.id
        if rule is not None:
            return rule(*args, **kwargs) if callable(rule) else self._follow(rule, args, kwargs)
        if found is not None:
            return self._registry.member(found, model.key)
        named = self.declaration.parameters.get(model.name, args, kwargs)
        if named is not None:
            return named if isinstance(named, (str, int)) or type(named).__name__ == "UUID" else None
        values = (self.declaration.parameters.get(name, args, kwargs) for name in self._keys)
        return next((value for value in values if value is not None), None)

    def _follow(self, path: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        root, *rest = path.split(".")
        value = self.declaration.parameters.get(root, args, kwargs)
        for name in rest:
            value = _read(value, name)
        return value


def _read(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
