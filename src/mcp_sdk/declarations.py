"""What a capture decorator was told, checked as far as the signature goes, and how it finds its entity in a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, cast
from uuid import UUID
from weakref import WeakSet

from mcp_sdk.exceptions import ModelError, UnknownModel, did_you_mean
from mcp_sdk.models import BusinessModel, state_name
from mcp_sdk.registry import Registry

__all__ = [
    "OF_SUBJECT",
    "Declaration",
    "Parameters",
    "Plan",
    "Subject",
    "argument",
    "check_declarations",
    "declare",
    "place_of",
    "signature_of",
    "was_declared",
]

Target = str | type | Enum | None
State = str | Enum | Callable[[Any], "str | Enum | None"] | None


OF_SUBJECT: Any = object()
"""Stands for the id of a subject that is to be read off the object."""


class Subject(NamedTuple):
    """An entity that a call is about: its model, the object that holds it or None, its id as it was given."""

    model: BusinessModel
    subject: Any
    raw_id: Any = OF_SUBJECT


Slot = tuple[int, str, Any]
"""Where an argument stands: its position (beyond any when it has none), its name, its default."""
_NOWHERE = 1 << 30


class Parameters:
    """A function's parameters by name, so that a call's arguments are found without binding the signature."""

    __slots__ = ("_slots", "variadic")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._slots: dict[str, Slot] = {}
        self.variadic = False
        try:
            found = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            found, self.variadic = [], True
        for position, spec in enumerate(found):
            self._add(position, spec)

    def _add(self, position: int, spec: inspect.Parameter) -> None:
        if spec.kind is inspect.Parameter.VAR_KEYWORD:
            self.variadic = True
        elif spec.kind is not inspect.Parameter.VAR_POSITIONAL:
            at = position if spec.kind is not inspect.Parameter.KEYWORD_ONLY else _NOWHERE
            self._slots[spec.name] = (at, spec.name, None if spec.default is spec.empty else spec.default)

    def __contains__(self, name: str) -> bool:
        return name in self._slots or self.variadic

    @property
    def names(self) -> Iterable[str]:
        """The names, in order."""
        return self._slots

    def slot(self, name: str) -> Slot:
        """Tell where an argument stands, once for all calls."""
        return self._slots.get(name, (_NOWHERE, name, None))


def argument(slot: Slot, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Give an argument of a call, or its default where it was left out."""
    position, name, default = slot
    return args[position] if position < len(args) else kwargs.get(name, default)


@dataclass(frozen=True, eq=False)
class Declaration:
    """What one decorator was told.

    ``target`` names the model by its name, its class or a member of its Enum of states; None is every argument of a
    declared class. ``state`` is a state's name or a function of the result. ``carry`` makes the calls below carry the
    entity, which ``@model_context`` does and ``@context_observer`` does not.
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
        target = self.target
        if target is None or (isinstance(target, str) and not isinstance(target, Enum)):
            return target
        if isinstance(target, Enum):
            return self._known(self._of_enum(type(target), registry), type(target), registry)
        if issubclass(target, Enum):
            return self._known(self._of_enum(target, registry), target, registry)
        found = registry.of_type(target)
        return self._known(found.name if found is not None else None, target, registry)

    def _of_enum(self, enum: type[Enum], registry: Registry) -> str | None:
        try:
            return registry.of_enum(enum)
        except ModelError as error:
            raise ModelError(f"{self.where}: {error}") from None

    def _known(self, name: str | None, cls: type, registry: Registry) -> str:
        if name is None:
            raise UnknownModel(cls.__name__, registry, where=self.where)
        return name

    def check(self, registry: Registry) -> None:
        """Check the names of model and states; raises ``UnknownModel`` or ``UnknownState`` with the place."""
        name = self.model_name(registry)
        if name is None:
            return
        model = registry.named(name, where=self.where)
        static = self.state if isinstance(self.state, str) else None
        for state in (*self.from_states, *filter(None, (static, self.on_error))):
            model.check_state(state, where=self.where)


_unchecked: WeakSet[Declaration] = WeakSet()
_places: set[str] = set()


def declare(
    function: Callable[..., Any], target: Target, *, carry: bool, options: Mapping[str, Any], where: str = ""
) -> Declaration:
    """Make a declaration for ``function``; raises ``ModelError`` with file:line:column for one that cannot work."""
    where = where or place_of(function)
    _places.add(place_of(function))
    try:
        declaration = _declaration(function, target, options, where, carry=carry)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    _unchecked.add(declaration)
    return declaration


def _declaration(
    function: Callable[..., Any], target: Target, options: Mapping[str, Any], where: str, *, carry: bool
) -> Declaration:
    parameters = Parameters(function)
    given = options.get("state")
    if target is None and isinstance(given, Enum):
        target = given
    state = given if given is not None else target if isinstance(target, Enum) else None
    _check_target(target, options)
    return Declaration(
        target=target,
        state=state if callable(state) and not isinstance(state, Enum) else _optional_state(state),
        from_states=_states(options.get("from_")),
        on_error=_optional_state(options.get("on_error")),
        id=_check_id(options.get("id"), parameters),
        carry=carry,
        span=bool(options.get("span")),
        where=where,
        operation=_operation(function),
        parameters=parameters,
    )


def _check_target(target: Target, options: Mapping[str, Any]) -> None:
    needy = next((name for name in ("state", "from_", "on_error", "id") if options.get(name) is not None), None)
    if target is None and needy is not None:
        raise ModelError(f"{needy}= says something of one model; say which with model=")


def _operation(function: Any) -> str:
    inner = getattr(function, "func", function)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{getattr(inner, '__module__', None) or type(inner).__module__}.{name}"


def check_declarations(registry: Registry) -> None:
    """Check decorators against the declared models; a registry without models accepts them all.

    Which ones: those of this process that no registry checked before belong to the first that asks, and stay its own.
    Raises ``UnknownModel`` and ``UnknownState`` with the decorator's file:line:column, and ``ConfigurationError``.
    """
    if registry.open:
        return
    registry.check()
    if not registry.strict:
        return
    registry.declarations.update(_unchecked)
    _unchecked.clear()
    for declaration in list(registry.declarations):
        declaration.check(registry)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Give a function's signature with its annotations resolved, where they can be.

    A wrapper that shows it is understood by frameworks that resolve annotations in the wrapper's module, as FastAPI
    long did.
    """
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # noqa: BLE001 - a name that exists only for type checkers, or only later: whatever it raises
        return inspect.signature(function)


def place_of(function: Callable[..., Any]) -> str:
    """Give ``file:line:column`` of a function, decorators included."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}:1" if code is not None else repr(function)


def was_declared(function: Callable[..., Any]) -> bool:
    """Tell whether a bare function was ever decorated, wherever the decorated one went."""
    return place_of(function) in _places


def _optional_state(state: Any) -> str | None:
    return None if state is None else state_name(state)


def _states(states: Any) -> frozenset[str]:
    if states is None:
        return frozenset()
    return frozenset({state_name(states)} if isinstance(states, (str, Enum)) else map(state_name, states))


def _check_id(rule: Any, parameters: Parameters) -> str | Callable[..., Any] | None:
    if rule is None:
        return None
    if callable(rule):
        return cast("Callable[..., Any]", rule)
    if not isinstance(rule, str):
        raise ModelError(f"id is a path from a parameter or a function of the arguments, not {rule!r}")
    root = rule.partition(".")[0]
    if root not in parameters:
        raise ModelError(
            f"id={rule!r} starts at {root!r}, which is no parameter.{did_you_mean(root, parameters.names)}"
        )
    return rule


class Plan:
    """A declaration resolved against one registry: how to find, in a call, the entities that it is about.

    The id is, in this order: what the decorator's ``id`` gives; the key of the argument that is the entity; the
    argument named like the model; the argument named ``<model>_<key>`` or ``<model>_id``.
    """

    __slots__ = ("_ids", "_named", "_registry", "_type", "declaration", "id_slots", "model")

    def __init__(self, declaration: Declaration, registry: Registry) -> None:
        self.declaration: Declaration = declaration
        self._registry = registry
        name = declaration.model_name(registry)
        self.model: BusinessModel | None = registry.named(name, where=declaration.where) if name is not None else None
        self._type = self.model.python_type if self.model is not None else None
        self._named = self._slots(name) if name is not None else ()
        self._ids = self._slots(f"{name}_{self.model.key}", f"{name}_id") if self.model is not None else ()
        self.id_slots: tuple[Slot, ...] | tuple[()] = self._named + self._ids

    def _slots(self, *names: str) -> tuple[Slot, ...]:
        parameters = self.declaration.parameters
        return tuple(parameters.slot(name) for name in dict.fromkeys(names) if name in parameters)

    def subjects(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Subject]:
        """Give the entities of a call; with a named model exactly one, whose id may be unknown yet (None)."""
        if self.model is None:
            return self._of_declared_classes(args, kwargs)
        found = self._object(args, kwargs)
        if self.declaration.id is not None:
            return [Subject(self.model, found, self._ruled(self.declaration.id, args, kwargs))]
        if found is not None:
            return [Subject(self.model, found)]
        return [Subject(self.model, None, self.raw_id(args, kwargs))]

    def _of_declared_classes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Subject]:
        of_type = self._registry.of_type
        given = {id(value): value for value in (*args, *kwargs.values())}.values()
        return [Subject(model, value) for value in given if (model := of_type(type(value))) is not None]

    def _object(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        kind = self._type
        if kind is not None:
            for value in args:
                if isinstance(value, kind):
                    return value
            for value in kwargs.values():
                if isinstance(value, kind):
                    return value
        return self._like_one(args, kwargs)

    def _like_one(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        for slot in self._named:
            value = argument(slot, args, kwargs)
            if value is not None and not _is_id(value) and self._has_key(value):
                return value
        return None

    def _has_key(self, value: Any) -> bool:
        return isinstance(value, Mapping) or (self.model is not None and hasattr(value, self.model.key))

    def raw_id(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Give the id that stands among the arguments by name, or None."""
        for slot in self._named:
            value = argument(slot, args, kwargs)
            if _is_id(value):
                return value
        for slot in self._ids:
            value = argument(slot, args, kwargs)
            if value is not None:
                return value
        return None

    def _ruled(self, rule: str | Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if callable(rule):
            return rule(*args, **kwargs)
        root, _, rest = rule.partition(".")
        value = argument(self.declaration.parameters.slot(root), args, kwargs)
        return self._registry.member(value, rest) if rest else value


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int, UUID, Enum)) and not isinstance(value, bool)
