"""How an object or a mapping is read by its model: id, state and attributes, in one go where all of them are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from mcp_sdk.context import NO_ATTRIBUTES
from mcp_sdk.exceptions import ModelError
from mcp_sdk.models import INT64, Attribute, BusinessModel, Value

__all__ = ["Facts", "Reader", "id_text", "member"]

_UNREADABLE: Any = object()
_AS_IT_IS = {"string": str, "double": float, "bool": bool}


class Facts(NamedTuple):
    """What an object says of itself: its id as text (empty when it has none yet), its state, its attributes.

    ``missed`` counts what could not be read or does not fit its declaration.
    """

    entity_id: str
    state: str | None
    attributes: Mapping[str, Value] = NO_ATTRIBUTES
    missed: int = 0


def member(subject: Any, name: str) -> Any:
    """Give a key of a mapping or an attribute of an object; None where there is none, or where reading it fails."""
    found = _member(subject, name)
    return None if found is _UNREADABLE else found


def _member(subject: Any, name: str) -> Any:
    value = subject
    for part in name.split("."):
        if value is None:
            return None
        try:
            value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
        except Exception:  # noqa: BLE001 - a property of the user's may raise anything, a detached ORM row does
            return _UNREADABLE
    return value


def id_text(raw: Any) -> str:
    """Give an id as text; empty for None."""
    if raw is None:
        return ""
    return str(raw.value if isinstance(raw, Enum) else raw)


class Reader:
    """Reads objects of one class by one model.

    ``name`` turns a raw id into the text that leaves the process. ``look`` reads one member, when an integration put
    its own in the place of ``member``. Reading never raises. For the quick path it shows its parts: ``get`` gives the
    raw values of a whole object and raises for any other, ``quick`` has the place, the name and the type of each
    attribute, ``names`` those of all that is read, ``comparable`` says that equal raw values mean equal facts.
    """

    __slots__ = ("_attributes", "_enum", "_look", "_name", "comparable", "get", "names", "quick")

    def __init__(
        self, model: BusinessModel, cls: type, *, name: Callable[[Any], str], look: Callable[[Any, str], Any] = member
    ) -> None:
        self._attributes = tuple(spec for spec in model.attributes.values() if not spec.sensitive)
        self.quick: tuple[tuple[int, str, Any], ...] = tuple(
            (at, spec.name, _AS_IT_IS.get(spec.type)) for at, spec in enumerate(self._attributes, 2)
        )
        self.names: tuple[str, ...] = (model.key, model.state, *(spec.source or spec.name for spec in self._attributes))
        self.comparable: bool = all(spec.type != "list" for spec in self._attributes)
        self._enum = model.states_enum
        self._name = None if not model.pseudonymise else name
        self._look = _member if look is member else look
        self.get: Callable[[Any], tuple[Any, ...]] = self._one_by_one
        if look is member:
            self.get = itemgetter(*self.names) if issubclass(cls, Mapping) else attrgetter(*self.names)

    def raw(self, subject: Any) -> tuple[Any, ...]:
        """Give what the object holds, untouched: its key, its state, its attributes in order."""
        try:
            return self.get(subject)
        except Exception:  # noqa: BLE001 - something is missing, or a property raised: what is there still counts
            return self._one_by_one(subject)

    def _one_by_one(self, subject: Any) -> tuple[Any, ...]:
        return tuple([self._look(subject, name) for name in self.names])

    def same(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
        """Tell whether nothing changed between two readings, as far as can be told without converting them."""
        try:
            return self.comparable and before == after
        except Exception:  # noqa: BLE001 - values of the user's may refuse to be compared
            return False

    def read(self, subject: Any) -> Facts:
        """Read and convert in one step."""
        return self.facts(self.raw(subject))

    def facts(self, raw: tuple[Any, ...]) -> Facts:
        """Convert what ``raw`` gave. What is missing or does not fit is left out, and counted in ``missed``."""
        key, state = raw[0], raw[1]
        missed = (key is _UNREADABLE) + (state is _UNREADABLE)
        entity_id = key if type(key) is str and self._name is None else self._id("" if key is _UNREADABLE else key)
        if type(state) is not str:
            state = self.state_text(state)
        if not self._attributes:
            return Facts(entity_id, state, NO_ATTRIBUTES, missed)
        attributes: dict[str, Any] = {}
        for at, name, kind in self.quick:
            value = raw[at]
            if type(value) is kind:
                attributes[name] = value
            elif value is not None:
                missed += not _convert(self._attributes[at - 2], value, attributes)
        return Facts(entity_id, state, attributes, missed)

    def _id(self, raw: Any) -> str:
        try:
            return id_text(raw) if self._name is None else self._name(raw)
        except Exception:  # noqa: BLE001 - an id whose text cannot be made is no id
            return ""

    def state_text(self, raw: Any) -> str | None:
        """Give a raw state as text; None for what is no state."""
        if isinstance(raw, Enum):
            return raw.value if isinstance(raw.value, str) else raw.name.lower()
        if isinstance(raw, str):
            return str(raw)
        if raw is None or raw is _UNREADABLE or self._enum is None:
            return None
        try:
            return self._enum(raw).name.lower()
        except (ValueError, TypeError):
            return None


def _convert(spec: Attribute, value: Any, into: dict[str, Value]) -> bool:
    if type(value) is int and spec.type == "int" and -INT64 <= value < INT64:
        into[spec.name] = value
        return True
    try:
        into[spec.name] = spec.capture(value)
    except ModelError:
        return False
    return True
