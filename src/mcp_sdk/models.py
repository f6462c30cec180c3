"""Business models: the declared types of the entities that traffic is about.

A declaration names the key, the states, the moves between them, and typed attributes; it says which attributes travel
in baggage and which are sensitive and never leave the object they stand on.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mcp_sdk.exceptions import ModelError, UnknownState, did_you_mean

__all__ = [
    "ATTRIBUTE_TYPES",
    "RESERVED_NAMES",
    "Attribute",
    "BusinessModel",
    "Value",
    "is_pseudonym",
    "pseudonym",
    "state_name",
]


ATTRIBUTE_TYPES = frozenset({"string", "int", "double", "bool", "decimal", "timestamp", "list"})
RESERVED_NAMES = frozenset(
    {"request", "principal", "source", "now", "sig", "when", "then", "else", "true", "false", "null", "in"}
)
INT64 = 2**63
_INT64_DIGITS = 19
_PSEUDONYM = re.compile(r"p-[0-9a-f]{24}")
_EXACT = Context(prec=64)
"""Holds any amount, whatever the application's own context rounds to."""

Value = str | int | float | bool | datetime | tuple[str, ...]
"""What an attribute's value may be once captured. A ``decimal`` is an int: 64-bit minor units."""


def state_name(state: Any) -> str:
    """Give the text of a state that is written as a string or as an Enum member (its value, when that is a string)."""
    if isinstance(state, Enum):
        return state.value if isinstance(state.value, str) else state.name.lower()
    if isinstance(state, str):
        return state
    raise ModelError(f"a state is a string or an Enum member, not {state!r} ({type(state).__name__})")


@dataclass(frozen=True, slots=True)
class Attribute:
    """A typed fact of a business model.

    ``type`` is one of ``string int double bool decimal timestamp list`` (``list`` is of strings). A ``decimal`` is kept
    as int64 minor units of ``scale`` digits. ``travels`` puts it into baggage. ``sensitive`` keeps it out of baggage,
    spans, stores, logs and explanations alike. Lower ``priority`` is dropped first when baggage runs over its budget.
    ``source`` is the attribute or key of the object to read, when it is not ``name``; dots lead on (``customer.tier``).
    """

    name: str
    type: str = "string"
    travels: bool = True
    sensitive: bool = False
    scale: int = 2
    priority: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, "attribute")
        if self.name in ("id", "state", "rev"):
            raise ModelError(f"attribute {self.name!r} is built in; choose another name")
        if self.type not in ATTRIBUTE_TYPES:
            raise ModelError(
                f"attribute {self.name!r}: unknown type {self.type!r}.{did_you_mean(self.type, ATTRIBUTE_TYPES)}"
            )
        if not 0 <= self.scale <= 9:
            raise ModelError(f"attribute {self.name!r}: scale is {self.scale}; it counts decimal digits, 0 to 9")

    def capture(self, raw: Any) -> Value:
        """Turn what an object holds into the value that policies see; raises ``ModelError`` when it does not fit."""
        try:
            return _CAPTURE[self.type](self, raw.value if isinstance(raw, Enum) else raw)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ModelError(
                f"attribute {self.name!r} is declared {self.type}, and its value is a {type(raw).__name__}"
            ) from error

    def present(self, value: Value) -> str:
        """Give the value as a person writes it: a decimal in major units, a timestamp in ISO 8601."""
        if self.type == "decimal" and isinstance(value, int):
            return str(Decimal(value).scaleb(-self.scale, _EXACT))
        return value.isoformat() if isinstance(value, datetime) else str(value)

    def to_dict(self) -> dict[str, Any]:
        """Give the declaration as plain JSON, for snapshots and stores."""
        return {name: getattr(self, name) for name in ("name", "type", "travels", "sensitive", "scale", "priority")}


def _int64(value: int) -> int:
    if not -INT64 <= value < INT64:
        raise ValueError("out of the range of int64")
    return value


def _capture_int(_: Attribute, raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise TypeError("not an int")
    return _int64(raw)


def _capture_double(_: Attribute, raw: Any) -> float:
    if isinstance(raw, bool):
        raise TypeError("not a number")
    return float(raw)


def _capture_bool(_: Attribute, raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise TypeError("not a bool")
    return raw


def _capture_string(_: Attribute, raw: Any) -> str:
    if raw is None or isinstance(raw, (bytes, bool)):
        raise TypeError("not a string")
    return str(raw)


def _capture_decimal(attribute: Attribute, raw: Any) -> int:
    if isinstance(raw, bool):
        raise TypeError("not a number")
    number = raw if type(raw) is Decimal else Decimal(str(raw)) if isinstance(raw, float) else Decimal(raw)
    if number.adjusted() > _INT64_DIGITS:  # 1e999990 would take minutes to become an int
        raise ValueError("out of the range of int64")
    return _int64(int(number.scaleb(attribute.scale, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT)))


def _capture_timestamp(_: Attribute, raw: Any) -> datetime:
    if isinstance(raw, (int, float)) and not isinstance(raw, bool) and math.isfinite(raw):
        return datetime.fromtimestamp(raw, UTC)
    moment = datetime.fromisoformat(raw) if isinstance(raw, str) else raw
    if not isinstance(moment, datetime):
        raise TypeError("not a timestamp")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _capture_list(_: Attribute, raw: Any) -> tuple[str, ...]:
    if isinstance(raw, (str, bytes)) or not isinstance(raw, Iterable):
        raise TypeError("not a list")
    return tuple(sorted(map(str, raw)) if isinstance(raw, (set, frozenset)) else map(str, raw))


_CAPTURE: dict[str, Callable[[Attribute, Any], Value]] = {
    "string": _capture_string,
    "int": _capture_int,
    "double": _capture_double,
    "bool": _capture_bool,
    "decimal": _capture_decimal,
    "timestamp": _capture_timestamp,
    "list": _capture_list,
}


def pseudonym(model: str, text: str, *, key: bytes) -> str:
    """Give the name of an entity outside: 96 bits of HMAC-SHA-256 over its model and id, in hex behind ``p-``."""
    digest = hmac.new(key, f"{model}\0{text}".encode(), hashlib.sha256).hexdigest()
    return f"p-{digest[:24]}"


def is_pseudonym(text: str) -> bool:
    """Tell whether a text has the form that ``pseudonym`` gives."""
    return _PSEUDONYM.fullmatch(text) is not None


def _check_name(name: str, what: str) -> None:
    if not name.isidentifier() or not name.isascii() or name != name.lower() or name.startswith("_"):
        raise ModelError(
            f"{what} name {name!r} must be a lower-case ASCII identifier, for it becomes a name in policies and baggage"
        )


@dataclass(frozen=True)
class BusinessModel:
    """A declared entity type.

    ``key`` and ``state`` name where the id and the state stand on an object of ``python_type``. Without ``states`` any
    state is accepted; without ``transitions`` any move is. ``enforce`` makes a forbidden move raise
    ``InvalidTransition`` in the business call; otherwise it is recorded and counted. ``principal`` says that entities
    of this model are the ones that authenticate: their context comes from the authenticated principal only.
    ``pseudonymise`` replaces ids by a keyed hash before they leave the process. ``retention`` is in seconds after the
    last transition; None keeps for ever. ``states_enum`` is the Enum that ``states`` was given as, if it was.
    """

    name: str
    key: str = "id"
    state: str = "state"
    states: tuple[str, ...] = ()
    transitions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    enforce: bool = False
    principal: bool = False
    pseudonymise: bool = False
    retention: float | None = None
    python_type: type | None = field(default=None, compare=False)
    states_enum: type[Enum] | None = field(default=None, compare=False)

    if TYPE_CHECKING:  # what may be given is more than what is kept

        def __init__(  # noqa: PLR0913, PLR0917
            self,
            name: str,
            key: str = "id",
            state: str = "state",
            states: Iterable[str | Enum] = (),
            transitions: Mapping[Any, Iterable[str | Enum]] = ...,
            attributes: Mapping[str, Attribute | str | type] | Iterable[Attribute] = ...,
            enforce: bool = False,  # noqa: FBT001, FBT002
            principal: bool = False,  # noqa: FBT001, FBT002
            pseudonymise: bool = False,  # noqa: FBT001, FBT002
            retention: float | None = None,
            python_type: type | None = None,
            states_enum: type[Enum] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        _check_name(self.name, "model")
        if self.name in RESERVED_NAMES:
            raise ModelError(f"model name {self.name!r} is reserved; choose another")
        if isinstance(self.states, type) and issubclass(self.states, Enum):
            object.__setattr__(self, "states_enum", self.states)
        object.__setattr__(self, "states", _states(self.states))
        object.__setattr__(self, "transitions", MappingProxyType(self._moves(self.transitions)))
        object.__setattr__(self, "attributes", MappingProxyType(_attributes(self.attributes)))
        self._check_hidden()
        if self.retention is not None and not (isinstance(self.retention, (int, float)) and self.retention > 0):
            raise ModelError(f"model {self.name!r}: retention is {self.retention!r}; it is seconds above 0, or None")

    def _check_hidden(self) -> None:
        hidden = {spec.source or spec.name for spec in self.attributes.values() if spec.sensitive}
        if self.state in hidden:
            raise ModelError(
                f"model {self.name!r}: {self.state!r} holds the state, which everybody sees; it cannot be sensitive"
            )
        if self.key in hidden and not self.pseudonymise:
            raise ModelError(
                f"model {self.name!r}: the key {self.key!r} is sensitive; say pseudonymise=True to send a hash of it"
            )

    def _moves(self, moves: Mapping[Any, Iterable[Any]]) -> dict[str, frozenset[str]]:
        return {self.check_state(start): frozenset(map(self.check_state, ends)) for start, ends in moves.items()}

    def check_state(self, state: Any, *, where: str = "") -> str:
        """Give the state's name; raises ``UnknownState`` when the model declares states and this is none of them."""
        name = state_name(state)
        if self.states and name not in self.states:
            raise UnknownState(self.name, name, self.states, where=where)
        return name

    def allows(self, from_state: str | None, to_state: str) -> bool:
        """Tell whether an entity may go from one state to another; an unknown from-state allows everything."""
        if from_state is None or from_state == to_state or not self.transitions:
            return True
        if self.states and from_state not in self.states:
            return True
        return to_state in self.transitions.get(from_state, frozenset())

    def to_dict(self) -> dict[str, Any]:
        """Give the declaration as plain JSON, for snapshots and stores."""
        return {
            "name": self.name,
            "key": self.key,
            "state": self.state,
            "states": list(self.states),
            "transitions": {start: sorted(ends) for start, ends in self.transitions.items()},
            "attributes": [attribute.to_dict() for attribute in self.attributes.values()],
            "enforce": self.enforce,
            "principal": self.principal,
            "pseudonymise": self.pseudonymise,
            "retention": self.retention,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> BusinessModel:
        """Read what ``to_dict`` wrote; raises ``ModelError`` when it does not fit."""
        try:
            _check_keys(plain, cls)
            _check_form(plain)
            for attribute in plain.get("attributes", ()):
                _check_keys(attribute, Attribute)
            fields = dict(plain, attributes=[Attribute(**attribute) for attribute in plain.get("attributes", ())])
            return cls(**fields)
        except (TypeError, AttributeError) as error:
            raise ModelError(f"not a model declaration: {error}") from error


def _check_keys(plain: Any, kind: type[BusinessModel | Attribute]) -> None:
    if not isinstance(plain, Mapping):
        raise ModelError(f"{kind.__name__} is declared by a mapping, not {plain!r}")
    known = [spec.name for spec in dataclass_fields(kind) if spec.compare]
    for key in plain:
        if key not in known:
            raise ModelError(f"{kind.__name__} has no {key!r}.{did_you_mean(str(key), known)}")


_FORMS: tuple[tuple[str, type[Any] | tuple[type[Any], ...], str], ...] = (
    ("states", (list, tuple), "states: [created, paid]"),
    ("transitions", Mapping, "transitions: {created: [paid]}"),
    ("attributes", (list, tuple), "attributes: [{name: amount, type: decimal}]"),
)


def _check_form(plain: Mapping[str, Any]) -> None:
    for key, kind, example in _FORMS:
        if key in plain and not isinstance(plain[key], kind):
            raise ModelError(f"model {plain.get('name')!r}: {key!r} is {plain[key]!r}. Write it as {example}")


def _states(states: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(state_name(state) for state in states))


def _attributes(attributes: Any) -> dict[str, Attribute]:
    if isinstance(attributes, Mapping):
        return {name: _attribute(name, spec) for name, spec in attributes.items()}
    return {attribute.name: attribute for attribute in attributes}


def _attribute(name: str, spec: Any) -> Attribute:
    if isinstance(spec, Attribute):
        return spec
    if isinstance(spec, str):
        return Attribute(name, spec)
    if isinstance(spec, type):
        return Attribute(name, _TYPE_OF.get(spec, "string"))
    raise ModelError(f"attribute {name!r} is declared by an Attribute, a type or a type's name, not {spec!r}")


_TYPE_OF: dict[type, str] = {
    str: "string",
    int: "int",
    float: "double",
    bool: "bool",
    Decimal: "decimal",
    datetime: "timestamp",
    list: "list",
    tuple: "list",
    set: "list",
    frozenset: "list",
}
