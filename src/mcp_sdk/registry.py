"""The models that one mesh knows, by name, by class and by Enum, and how to read an object by them."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

from mcp_sdk.context import EntityRef
from mcp_sdk.exceptions import ConfigurationError, ModelError, UnknownModel, did_you_mean
from mcp_sdk.models import Attribute, BusinessModel, pseudonym
from mcp_sdk.reading import Facts, Reader, id_text, member

__all__ = ["Facts", "Registry", "infer", "member"]


class Registry(Mapping[str, BusinessModel]):
    """A live mapping of names to declared models. Declaring a name again replaces it.

    ``open`` says that nothing was declared, so every model is accepted: how a mesh behaves before anything is
    configured. ``strict`` makes a start fail for decorators of this process that name what is not declared here;
    tests, which import services that have other models, switch it off. ``declarations`` are the decorators that
    belong to it.
    """

    strict: bool = True

    def __init__(self, models: Iterable[BusinessModel] = (), *, pseudonym_key: bytes = b"") -> None:
        self._models: dict[str, BusinessModel] = {}
        self._by_type: dict[type, BusinessModel | None] = {}
        self._by_enum: dict[type, list[str]] = {}
        self._readers: dict[tuple[str, type], Reader] = {}
        self._looks: list[Callable[[Any, str], Any]] = []
        self.pseudonym_key = pseudonym_key
        self.version = 0
        self.declarations: WeakSet[Any] = WeakSet()
        for model in models:
            self.declare(model)

    def __getitem__(self, name: str) -> BusinessModel:
        return self._models[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Give a model, or ``default``; asked several times a request, so not left to ``Mapping``."""
        return self._models.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def open(self) -> bool:
        """Whether any model is accepted, for none is declared."""
        return not self._models

    def declare(self, model: BusinessModel, *, states_enum: type[Enum] | None = None) -> None:
        """Add a model, in the place of an earlier one of its name."""
        self._models[model.name] = model
        for names in self._by_enum.values():
            if model.name in names:
                names.remove(model.name)
        enum = states_enum or model.states_enum
        if enum is not None:
            self._by_enum.setdefault(enum, []).append(model.name)
        self._changed()

    def _changed(self) -> None:
        self._by_type.clear()
        self._readers.clear()
        self.version += 1

    @property
    def member(self) -> Callable[[Any, str], Any]:
        """The function that reads one member of a subject by name, or by a dotted path; None where there is none."""
        return self._member if self._looks else member

    def look_first(self, look: Callable[[Any, str], Any]) -> Callable[[], None]:
        """Have ``look(subject, name)`` read the members of subjects that it knows, an ORM's rows; give what ends that.

        ``name`` is one member, never a path. ``NotImplemented`` leaves a member to those before, and in the end to how
        any object is read; None says that it is not there: a column that is not loaded is not to be loaded.
        """
        self._looks.insert(0, look)
        self._changed()

        def end() -> None:
            self._looks.remove(look)
            self._changed()

        return end

    def _member(self, subject: Any, name: str) -> Any:
        value = subject
        for part in name.split("."):
            value = None if value is None else self._part(value, part)
        return value

    def _part(self, subject: Any, name: str) -> Any:
        for look in self._looks:
            found = look(subject, name)
            if found is not NotImplemented:
                return found
        return member(subject, name)

    def named(self, name: str, *, where: str = "") -> BusinessModel:
        """Give a model by name; in an open registry a bare one. Raises ``UnknownModel`` that names the nearest."""
        found = self._models.get(name)
        if found is not None:
            return found
        if self.open:
            return BusinessModel(name)
        raise UnknownModel(name, self._models, where=where)

    def of_enum(self, enum: type) -> str | None:
        """Give the name of the model whose states an Enum holds; raises ``ModelError`` when there are several."""
        names = self._by_enum.get(enum, [])
        if len(names) > 1:
            raise ModelError(f"{enum.__name__} holds the states of {', '.join(names)}. Say which with model=.")
        return names[0] if names else None

    def of_type(self, cls: type) -> BusinessModel | None:
        """Give the model that a class, or the nearest of its bases, was declared for."""
        try:
            return self._by_type[cls]
        except KeyError:
            found = self._by_type[cls] = self._search(cls)
            return found

    def _search(self, cls: type) -> BusinessModel | None:
        declared = {model.python_type: model for model in self._models.values() if model.python_type is not None}
        return next((declared[base] for base in cls.__mro__ if base in declared), None)

    def ref(self, model: BusinessModel, raw_id: Any) -> EntityRef:
        """Name an entity by the id that the application uses; pseudonymised where the model says so."""
        text = raw_id if type(raw_id) is str else id_text(raw_id)
        hidden = text and model.pseudonymise
        return EntityRef(model.name, pseudonym(model.name, text, key=self.pseudonym_key) if hidden else text)

    def reader(self, model: BusinessModel, cls: type) -> Reader:
        """Give what reads objects of a class by a model."""
        found = self._readers.get((model.name, cls))
        if found is None:
            found = Reader(model, cls, name=lambda raw: self.ref(model, raw).entity_id, look=self.member)
            self._readers[model.name, cls] = found
        return found

    def read(self, model: BusinessModel, subject: Any) -> Facts:
        """Read an object or a mapping by its model. What is missing or does not fit is left out, never raised."""
        return self.reader(model, type(subject)).read(subject)

    def check(self) -> None:
        """Raise ``ConfigurationError`` for what could only go wrong later: pseudonyms without a key."""
        hidden = next((model.name for model in self._models.values() if model.pseudonymise), None)
        if hidden is not None and not self.pseudonym_key:
            raise ConfigurationError(
                f"model {hidden!r} pseudonymises its ids, and there is no key to do it with. "
                "Set MCP_SDK_PSEUDONYM_KEY to the same secret in every service."
            )


def infer(cls: type, *, name: str, key: str, state: str, **options: Any) -> tuple[BusinessModel, type[Enum] | None]:
    """Make a model from a class: states from an Enum that annotates ``state``, attribute types from annotations.

    ``options`` are the other fields of ``BusinessModel``; ``attributes`` may be names, whose types are then looked up
    on the class, and ``sensitive`` names attributes that never leave the object. Gives the model and the Enum of its
    states.
    """
    hints = _hints(cls)
    enum = _enum_of(options.get("states"), hints.get(state))
    if enum is not None and not options.get("states"):
        options["states"] = enum
    sensitive = frozenset(options.pop("sensitive", ()))
    options["attributes"] = _infer_attributes(options.get("attributes", ()), hints, sensitive)
    _check_members(cls, hints, [key, *(spec.source or spec.name for spec in options["attributes"])])
    return BusinessModel(name, key=key, state=state, python_type=cls, **options), enum


def _check_members(cls: type, hints: Mapping[str, Any], names: Iterable[str]) -> None:
    if not any(hasattr(cls, mark) for mark in ("__dataclass_fields__", "__attrs_attrs__", "model_fields")):
        return
    for name in names:
        root = name.partition(".")[0]
        if root not in hints and not hasattr(cls, root):
            raise ModelError(f"{cls.__name__} has no {root!r}.{did_you_mean(root, hints)}")


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except Exception:  # noqa: BLE001 - a name that exists only for type checkers; the other annotations still help
        return {name: hint for base in reversed(cls.__mro__) for name, hint in _own_hints(base)}


def _own_hints(cls: type) -> Iterator[tuple[str, Any]]:
    scope, own = vars(sys.modules.get(cls.__module__, typing)), dict(vars(cls))
    for name, hint in own.get("__annotations__", {}).items():
        try:
            yield from typing.get_type_hints(SimpleNamespace(__annotations__={name: hint}), scope, own).items()
        except Exception:  # noqa: BLE001 - as above
            yield name, hint


def _enum_of(declared: Any, hint: Any) -> type[Enum] | None:
    for candidate in (declared, *_arms(hint)):
        if isinstance(candidate, type) and issubclass(candidate, Enum):
            return candidate
    return None


def _arms(hint: Any) -> tuple[Any, ...]:
    inner = typing.get_args(hint)
    return (hint, *(arm for part in inner for arm in _arms(part))) if inner else (hint,)


def _infer_attributes(declared: Any, hints: Mapping[str, Any], sensitive: frozenset[str]) -> list[Attribute]:
    specs = declared if isinstance(declared, Mapping) else {_name(spec): spec for spec in declared}
    names = dict.fromkeys([*specs, *sensitive])
    return [_infer_attribute(name, specs.get(name, name), hints.get(name), hidden=name in sensitive) for name in names]


def _name(spec: Any) -> str:
    return spec.name if isinstance(spec, Attribute) else spec


def _infer_attribute(name: str, spec: Any, hint: Any, *, hidden: bool) -> Attribute:
    if isinstance(spec, Attribute):
        return dataclasses.replace(spec, sensitive=spec.sensitive or hidden)
    kind = spec if isinstance(spec, str) and spec != name else _type_name(spec if isinstance(spec, type) else hint)
    return Attribute(name, kind, sensitive=hidden)


def _type_name(hint: Any) -> str:
    kinds = {str: "string", bool: "bool", int: "int", float: "double", Decimal: "decimal", datetime: "timestamp"}
    for arm in _arms(hint):
        origin = typing.get_origin(arm) or arm
        if origin in kinds:
            return kinds[origin]
        if origin in (list, tuple, set, frozenset):
            return "list"
    return "string"
