"""Frozen facts about entities, and the events that change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from mcp_sdk.exceptions import ModelError
from mcp_sdk.models import Value

__all__ = [
    "NO_ATTRIBUTES",
    "EntityRef",
    "ModelContext",
    "NewContext",
    "NewTransition",
    "Outcome",
    "Scope",
    "Transition",
    "Trust",
    "plain_value",
    "value_from_plain",
]
NO_ATTRIBUTES: Mapping[str, Value] = MappingProxyType({})


def _nothing() -> Mapping[str, Value]:
    return NO_ATTRIBUTES


class Trust(Enum):
    """How far a context may be believed. Only ``LOCAL``, ``STORE`` and ``VERIFIED`` count in decisions by default."""

    LOCAL = "local"
    STORE = "store"
    VERIFIED = "verified"
    UNSIGNED = "unsigned"
    EXPIRED = "expired"
    BAD_SIGNATURE = "bad_signature"

    @property
    def counts(self) -> bool:
        """Whether a policy may look at a context of this trust outside ``open`` ingress."""
        return self in _COUNTING


_COUNTING = frozenset({Trust.LOCAL, Trust.STORE, Trust.VERIFIED})


class Outcome(Enum):
    """What became of a business call that was to change an entity."""

    COMMITTED = "committed"
    ABORTED = "aborted"


class EntityRef(NamedTuple):
    """Names one entity inside a scope: ``order`` ``o-1``."""

    model: str
    entity_id: str

    def __str__(self) -> str:
        return f"{self.model}:{self.entity_id}"


class Scope(NamedTuple):
    """The namespace and environment that every key of a store carries."""

    namespace: str = "default"
    environment: str = "default"


MESH = Scope("*", "*")
"""The scope of what belongs to the whole mesh: tokens, the audit log. No service lives there."""


@dataclass(frozen=True, slots=True)
class ModelContext:
    """The facts of one entity at one moment.

    ``entity_id`` is empty while a new entity has no id yet. ``revision`` counts the entity's committed changes from 1,
    without gaps, as the store gave it; 0 is unknown. ``tentative`` marks a change on top of that revision which is not
    stored yet (``7+`` on the wire). ``attributes`` hold program values: a decimal is an int of minor units. Sensitive
    attributes are never in here. ``entered_at`` is when the entity came into its state, as far as the store knows.
    """

    model: str
    entity_id: str = ""
    state: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=_nothing)
    revision: int = 0
    tentative: bool = False
    observed_at: datetime | None = None
    source: str = ""
    trust: Trust = Trust.LOCAL
    entered_at: datetime | None = field(default=None, compare=False)
    _facts: Mapping[str, Value] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def ref(self) -> EntityRef:
        """The entity that these facts are of."""
        return EntityRef(self.model, self.entity_id)

    @property
    def rank(self) -> tuple[int, bool]:
        """Orders contexts of one entity by how new they are: ``7+`` beats a stored 7, and 8 beats ``7+``."""
        return (self.revision, self.tentative)

    @property
    def facts(self) -> Mapping[str, Value]:
        """The map that conditions see under the model's name: id, state, attributes; what is absent is no key."""
        return self._facts if self._facts is not None else self._make_facts()

    def _make_facts(self) -> Mapping[str, Value]:
        facts: dict[str, Value] = dict(self.attributes)
        if self.entity_id:
            facts["id"] = self.entity_id
        if self.state is not None:
            facts["state"] = self.state
        object.__setattr__(self, "_facts", facts)
        return facts

    def but(self, **changes: Any) -> ModelContext:
        """Give a copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Give the context as plain JSON."""
        return {
            "model": self.model,
            "id": self.entity_id,
            "state": self.state,
            "attributes": {name: plain_value(value) for name, value in self.attributes.items()},
            "revision": self.revision,
            "tentative": self.tentative,
            "observed_at": self.observed_at.isoformat() if self.observed_at else None,
            "source": self.source,
            "trust": self.trust.value,
            "entered_at": self.entered_at.isoformat() if self.entered_at else None,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ModelContext:
        """Read what ``to_dict`` wrote; raises ``ModelError`` when it does not fit."""
        try:
            return cls(
                model=plain["model"],
                entity_id=plain["id"],
                state=plain["state"],
                attributes={name: value_from_plain(value) for name, value in plain["attributes"].items()},
                revision=plain["revision"],
                tentative=plain.get("tentative", False),
                observed_at=datetime.fromisoformat(plain["observed_at"]) if plain.get("observed_at") else None,
                source=plain.get("source", ""),
                trust=Trust(plain.get("trust", "store")),
                entered_at=datetime.fromisoformat(plain["entered_at"]) if plain.get("entered_at") else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"not a model context: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Transition:
    """The event that an entity changed, or that a business call which was to change it failed.

    ``event_id`` makes publishing idempotent. ``base_revision`` is the revision that the change was made on, when the
    process knew it: the store applies the event only if the entity is still there (compare-and-set); None applies to
    whatever is there. Transitions of one ``batch_id`` are applied all or none. ``to_state`` None leaves the state as it
    is; ``attributes`` are merged into the entity's. ``cause`` is the type name of the exception that aborted the call,
    never its text. ``duration`` is in seconds.
    """

    model: str
    entity_id: str
    to_state: str | None
    event_id: str
    from_state: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=_nothing)
    outcome: Outcome = Outcome.COMMITTED
    base_revision: int | None = None
    batch_id: str = ""
    namespace: str = "default"
    environment: str = "default"
    observed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    source: str = ""
    operation: str = ""
    cause: str = ""
    duration: float = 0.0
    trace_id: str = ""

    @property
    def ref(self) -> EntityRef:
        """The entity that changed."""
        return EntityRef(self.model, self.entity_id)

    @property
    def scope(self) -> Scope:
        """Where the entity lives."""
        return Scope(self.namespace, self.environment)

    def to_dict(self) -> dict[str, Any]:
        """Give the transition as plain JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain["attributes"] = {name: plain_value(value) for name, value in self.attributes.items()}
        plain["outcome"] = self.outcome.value
        plain["observed_at"] = self.observed_at.isoformat()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Transition:
        """Read what ``to_dict`` wrote; raises ``ModelError`` when it does not fit."""
        try:
            fields = dict(plain)
            fields["attributes"] = {name: value_from_plain(value) for name, value in plain["attributes"].items()}
            fields["outcome"] = Outcome(plain["outcome"])
            fields["observed_at"] = datetime.fromisoformat(plain["observed_at"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"not a transition: {error!r}") from error


class NewContext:
    """A ``ModelContext`` in the making, of fields that are known to fit.

    It has the same slots, so that giving it the other class makes it one, in a fifth of the time that the frozen
    constructor takes: ``made.__class__ = ModelContext``. See ``docs/decisions/0004-quick-calls.md``.
    """

    __slots__ = ModelContext.__slots__

    def __init__(  # noqa: PLR0913, PLR0917 - positional for speed
        self,
        model: str,
        entity_id: str,
        state: str | None,
        attributes: Mapping[str, Value],
        revision: int,
        tentative: bool,  # noqa: FBT001
        source: str,
    ) -> None:
        self.model = model
        self.entity_id = entity_id
        self.state = state
        self.attributes = attributes
        self.revision = revision
        self.tentative = tentative
        self.source = source
        self.observed_at = self.entered_at = None
        self.trust = Trust.LOCAL
        self._facts = None


class NewTransition:
    """A ``Transition`` in the making, as ``NewContext`` is a context."""

    __slots__ = Transition.__slots__

    def __init__(  # noqa: PLR0913, PLR0917 - positional for speed
        self,
        model: str,
        entity_id: str,
        to_state: str | None,
        event_id: str,
        from_state: str | None,
        attributes: Mapping[str, Value],
        outcome: Outcome,
        base_revision: int | None,
        batch_id: str,
        namespace: str,
        environment: str,
        observed_at: datetime,
        source: str,
        operation: str,
        cause: str,
        duration: float,
        trace_id: str,
    ) -> None:
        self.model = model
        self.entity_id = entity_id
        self.to_state = to_state
        self.event_id = event_id
        self.from_state = from_state
        self.attributes = attributes
        self.outcome = outcome
        self.base_revision = base_revision
        self.batch_id = batch_id
        self.namespace = namespace
        self.environment = environment
        self.observed_at = observed_at
        self.source = source
        self.operation = operation
        self.cause = cause
        self.duration = duration
        self.trace_id = trace_id


def plain_value(value: Value) -> Any:
    """Give a value as JSON holds it: a timestamp as ``{"timestamp": ISO 8601}``, a list as a list."""
    if isinstance(value, datetime):
        return {"timestamp": value.isoformat()}
    return list(value) if isinstance(value, tuple) else value


def value_from_plain(plain: Any) -> Value:
    """Read what ``plain_value`` wrote; raises ``ModelError`` for anything else."""
    if isinstance(plain, dict) and list(plain) == ["timestamp"]:
        return datetime.fromisoformat(plain["timestamp"])
    if isinstance(plain, list):
        return tuple(map(str, plain))
    if isinstance(plain, (str, bool, int, float)):
        return plain
    raise ModelError(f"not an attribute's value: {type(plain).__name__}")
