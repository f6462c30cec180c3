"""What somebody who looks on wants to see, as both sides of a stream understand it.

    {"service": "shop", "verdict": "deny", "facts": {"order.state": "created"}, "decisions": true, "transitions": true}

All that is said has to hold; what is left out, or empty, always does. Values are compared as they are stored, as text:
a decimal in minor units, ``order.amount=25000``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from mcp_sdk.exceptions import ProtocolError

__all__ = ["Filter", "text_of"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Names what is wanted. ``facts`` are by ``model.attribute`` (``model.state``, ``model.id``), their values text."""

    service: str = ""
    verdict: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    decisions: bool = True
    transitions: bool = True

    @classmethod
    def parse(cls, conditions: Iterable[str], **rest: Any) -> Self:
        """Read conditions as people write them: ``order.state=created``; raises ``ProtocolError``."""
        facts: dict[str, str] = {}
        for text in conditions:
            name, equals, value = text.partition("=")
            model, dot, attribute = name.partition(".")
            if not (equals and dot and model and attribute):
                raise ProtocolError(f"{text[:80]!r} is no filter; write model.attribute=value or model.state=value")
            facts[name] = value
        return cls(facts=facts, **rest)

    def to_dict(self) -> dict[str, Any]:
        """Give the filter as plain JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"facts": dict(self.facts)}

    @classmethod
    def from_dict(cls, plain: Any) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``."""
        try:
            facts = {str(name): str(value) for name, value in plain.get("facts", {}).items()}
            wanted = bool(plain.get("decisions", True)), bool(plain.get("transitions", True))
            return cls(str(plain.get("service", "")), str(plain.get("verdict", "")), facts, *wanted)
        except (AttributeError, TypeError) as error:
            raise ProtocolError(f"not a filter: {error!r:.80}") from error

    def fits_decision(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a record of a decision is wanted."""
        return (
            self.decisions
            and self.service in ("", record.get("service"))
            and self.verdict in ("", record.get("verdict"))
            and self._fit(record.get("contexts") or ())
        )

    def fits_transition(self, applied: Mapping[str, Any]) -> bool:
        """Tell whether a transition with its outcome (``plain_applied``) is wanted; it has no verdict."""
        return (
            self.transitions
            and not self.verdict
            and self.service in ("", applied["transition"].get("source"))
            and self._fit((applied["context"],))
        )

    def _fit(self, contexts: Iterable[Any]) -> bool:
        if not self.facts:
            return True
        known: dict[str, str] = {}
        for context in contexts if isinstance(contexts, (list, tuple)) else ():
            if isinstance(context, Mapping):
                known.update(_named(context))
        return all(known.get(name) == value for name, value in self.facts.items())


def _named(context: Mapping[str, Any]) -> dict[str, str]:
    model, attributes = context.get("model"), context.get("attributes")
    facts = {"id": context.get("id"), "state": context.get("state")}
    facts |= attributes if isinstance(attributes, Mapping) else {}
    return {f"{model}.{name}": text_of(value) for name, value in facts.items() if value is not None}


def text_of(value: Any) -> str:
    """Give the text that a condition has to hold to fit a value as it is stored (``plain_value``)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value.get("timestamp", value)) if isinstance(value, Mapping) else str(value)
