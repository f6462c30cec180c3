"""The typed, frozen resources that policies are, each value with its place in the file.

A resource says what it governs (``target``), and what follows when a rule's condition holds. Conditions are still text
here; ``check`` gives them types. The shapes are those of ``docs/policies.md``; ``read_resources`` of module ``parse``
fills them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.policy.findings import Placed
from mcp_sdk.policy.source.reading import Scalar
from mcp_sdk.services import Subset

__all__ = [
    "API_VERSION",
    "KINDS",
    "AccessPolicy",
    "AccessRule",
    "Condition",
    "LimitRule",
    "Policy",
    "QosPolicy",
    "QosRule",
    "RateLimitPolicy",
    "Rule",
    "Share",
    "Target",
    "TrafficPolicy",
    "TrafficRoute",
    "TrafficRule",
]

API_VERSION = "mesh.mcp-sdk.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Target:
    """What a policy governs: a service, and of it the operations that match a pattern; without patterns all.

    A pattern is ``METHOD /path/{param}``; a dotted method name in phase ``METHOD``. See ``mcp_sdk.operations``.
    ``places`` says where each operation is written.
    """

    service: str
    operations: tuple[str, ...] = ()
    places: tuple[Placed, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Condition:
    """A CEL expression as written, and where; ``patches`` map text that sugar replaced back to what was written.

    ``source`` is the scalar of the file. ``offsets`` gives, for characters of ``text``, the offset in the scalar; None
    is the identity.
    """

    text: str
    source: Scalar = field(repr=False, compare=False)
    offsets: tuple[int, ...] | None = field(default=None, repr=False, compare=False)

    def place(self, offset: int) -> Scalar:
        """Give the place in the file of the character ``offset`` of ``text``."""
        if self.offsets is None:
            return self.source.at(offset)
        return self.source.at(self.offsets[min(max(offset, 0), len(self.offsets) - 1)] if self.offsets else 0)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One condition and what follows from it. ``name`` is ``rule-<n>`` where none was written."""

    name: str
    when: Condition
    at: Scalar = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a split: a version and its weight, 0 for no traffic."""

    version: str
    weight: int


@dataclass(frozen=True)
class TrafficRoute:
    """Where calls go: a ``subset``, or a ``split`` over versions, or any endpoint when neither is there.

    ``sticky`` is an expression whose value keeps to one share; ``salt`` goes before it into the hash
    (``<namespace>/<policy>/<rule>`` when empty). ``timeout`` is in seconds.
    """

    subset: Subset | None = None
    split: tuple[Share, ...] = ()
    sticky: Condition | None = None
    salt: str = ""
    priority: str = ""
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrafficRule(Rule):
    """Routes the calls that its condition holds for; ``advice`` goes to the application."""

    route: TrafficRoute
    advice: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AccessRule(Rule):
    """``effect``: ``deny`` (``reason``), ``review`` (``by``), ``step_up`` (``acr``, ``max_age`` in s) or ``permit``."""

    effect: str
    reason: str = ""
    by: str = ""
    acr: str = ""
    max_age: int | None = None


@dataclass(frozen=True, kw_only=True)
class QosRule(Rule):
    """Sets ``priority`` (``low normal high critical``) and ``service_class``; ``advice`` goes to the application."""

    priority: str = "normal"
    service_class: str = ""
    advice: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LimitRule(Rule):
    """``requests`` per ``per`` seconds, ``burst`` of them at once (all, where it is 0), by the value of ``key``."""

    requests: int
    per: float
    burst: int = 0
    key: Condition | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What all kinds have.

    ``constants`` are named values for conditions, written at ``places``; ``shadow`` evaluates without enforcing.
    """

    name: str
    namespace: str
    target: Target
    at: Scalar = field(repr=False, compare=False)
    constants: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Placed] = field(default_factory=dict, repr=False, compare=False)
    allow_tentative: bool = False
    shadow: bool = False
    kind = ""


@dataclass(frozen=True, kw_only=True)
class TrafficPolicy(Policy):
    """Routes a target's calls by the first rule that matches; else by ``default``; else to any endpoint."""

    rules: tuple[TrafficRule, ...] = ()
    default: TrafficRoute | None = None
    kind = "TrafficPolicy"


@dataclass(frozen=True, kw_only=True)
class AccessPolicy(Policy):
    """Grants and refuses: of all that match, over all policies of a target, deny > review > step_up > permit."""

    rules: tuple[AccessRule, ...] = ()
    default: str
    kind = "AccessPolicy"


@dataclass(frozen=True, kw_only=True)
class QosPolicy(Policy):
    """Sets how calls are served by the first rule that matches; else by ``default``."""

    rules: tuple[QosRule, ...] = ()
    default: QosRule | None = None
    kind = "QosPolicy"


@dataclass(frozen=True, kw_only=True)
class RateLimitPolicy(Policy):
    """Names the limits that a call spends from: those of every rule that matches."""

    rules: tuple[LimitRule, ...] = ()
    kind = "RateLimitPolicy"


KINDS: Mapping[str, type[Policy]] = {
    kind.kind: kind for kind in (TrafficPolicy, AccessPolicy, QosPolicy, RateLimitPolicy)
}
