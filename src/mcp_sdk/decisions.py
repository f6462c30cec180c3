"""What is known of a call, and what follows from it.

Never a bool: a permit or a typed refusal, each with its reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.exceptions import MeshError
from mcp_sdk.services import Subset

__all__ = [
    "ANONYMOUS",
    "NEW_DECISION",
    "NEW_FACTS",
    "NEW_REQUEST",
    "NEW_SOURCE",
    "PERMIT",
    "Decision",
    "DecisionRequest",
    "Denied",
    "Geo",
    "Limit",
    "Permit",
    "Phase",
    "Principal",
    "Qos",
    "Reason",
    "Refusal",
    "Refused",
    "RequestFacts",
    "ReviewRequired",
    "Rolled",
    "Route",
    "Shed",
    "Source",
    "StepUpRequired",
    "Throttled",
    "Verdict",
]

_EMPTY: Mapping[str, Any] = MappingProxyType({})


def _empty() -> Mapping[str, Any]:
    return _EMPTY


class Phase(Enum):
    """Where a decision is asked for, which says what kinds of policy speak.

    ``INBOUND``: a request has arrived at the target service; every kind. ``OUTBOUND``: a client is about to call the
    target; ``TrafficPolicy`` and ``QosPolicy``. ``METHOD``: ``@requires_permit`` in front of a method;
    ``AccessPolicy`` only.
    """

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    METHOD = "method"


@dataclass(frozen=True, slots=True)
class Geo:
    """Where a request comes from: ISO 3166 country and subdivision, GeoNames continent; empty when unknown."""

    country: str = ""
    region: str = ""
    continent: str = ""
    city: str = ""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The variable ``request`` of conditions.

    ``headers`` have lower-case names; ``size`` is the content length in bytes or -1.
    """

    method: str = ""
    path: str = ""
    operation: str = ""
    scheme: str = ""
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=_empty)
    query: Mapping[str, str] = field(default_factory=_empty)
    size: int = -1
    geo: Geo = Geo()


@dataclass(frozen=True, slots=True)
class Principal:
    """The variable ``principal``: who is calling, as the service's own authentication found out.

    ``attributes`` are further claims that the application vouches for, of string, int, bool or list-of-string values;
    ``auth_time`` is when the principal last authenticated.
    """

    id: str = ""
    authenticated: bool = False
    type: str = "user"
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    mfa: bool = False
    acr: str = ""
    auth_time: datetime | None = None
    attributes: Mapping[str, Any] = field(default_factory=_empty)


ANONYMOUS = Principal()


@dataclass(frozen=True, slots=True)
class Source:
    """The variable ``source``: which peer sent the request.

    ``verified`` when its baggage signature or certificate held.
    """

    service: str = ""
    namespace: str = ""
    environment: str = ""
    address: str = ""
    verified: bool = False


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """What is known of a call: the question that ``ControlPlane.decide`` answers.

    ``service`` is the target; ``operation`` is ``METHOD /path`` (or the dotted name of a method in phase ``METHOD``).
    ``contexts`` are the entities in hand by model, already stripped of what may not be believed. ``references`` are
    entities that the call names and that may have to be fetched. ``now`` is UTC.
    """

    service: str
    operation: str = ""
    phase: Phase = Phase.INBOUND
    contexts: Mapping[str, ModelContext] = field(default_factory=_empty)
    references: tuple[EntityRef, ...] = ()
    request: RequestFacts = RequestFacts()
    principal: Principal = ANONYMOUS
    source: Source = Source()
    namespace: str = "default"
    environment: str = "default"
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a decision says what it says: one policy's word.

    ``rule`` is empty when the policy's default spoke. ``clause`` is the text of the condition that decided,
    ``detail`` what to add for a person. ``effect`` is the effect's name as policies write it. ``revision`` is the
    policy set's, ``trust`` the least trust among the contexts that were looked at; ``shadow`` marks a policy in shadow.
    """

    policy: str
    kind: str
    rule: str = ""
    effect: str = ""
    clause: str = ""
    detail: str = ""
    revision: int = 0
    trust: str = ""
    shadow: bool = False

    def __str__(self) -> str:
        where = f"rule {self.rule!r} of {self.policy!r}" if self.rule else f"the default of {self.policy!r}"
        because = f" because {self.clause}" if self.clause else ""
        return f"{self.effect} by {where}{because}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Route:
    """Which endpoints serve the call. ``subset`` None leaves the choice among all of them.

    ``sticky`` is the value that chose the share of a split and keeps the entity on it; empty when nothing sticks.
    ``priority`` is a class of the caller's, as a TrafficPolicy wrote it.
    """

    subset: Subset | None = None
    priority: str = ""
    sticky: str = ""
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Qos:
    """How the call is served: ``priority`` (``low normal high critical``) and the class of service."""

    priority: str = "normal"
    service_class: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """One rate limit that a call spends from: ``requests`` per ``per`` seconds, counted under ``key``.

    ``burst`` of them may come at once; 0 means all.

    ``policy`` and ``key`` together name the bucket. A decision is pure, so it names its limits; admission counts them.
    """

    policy: str
    key: str
    requests: int
    per: float
    burst: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Permit:
    """The call may go on."""

    name: Literal["permit"] = "permit"


@dataclass(frozen=True, slots=True)
class Denied:
    """The call may not go on. ``message`` is what the policy's author wrote for the caller."""

    message: str = ""
    name: Literal["deny"] = "deny"


@dataclass(frozen=True, slots=True)
class StepUpRequired:
    """The call may go on after a stronger or fresher authentication (RFC 9470); ``max_age`` is in seconds."""

    acr: str = ""
    max_age: int | None = None
    message: str = ""
    name: Literal["step_up"] = "step_up"


@dataclass(frozen=True, slots=True)
class ReviewRequired:
    """The call waits for a review by somebody or something else, named by ``by``."""

    by: str = ""
    message: str = ""
    name: Literal["review"] = "review"


@dataclass(frozen=True, slots=True)
class Throttled:
    """The caller spent its share of ``limit``; it may try again after ``retry_after`` seconds."""

    retry_after: float
    limit: Limit
    remaining: int = 0
    name: Literal["throttle"] = "throttle"


@dataclass(frozen=True, slots=True)
class Shed:
    """The service cannot take the call now; try again after ``retry_after`` seconds.

    ``priority`` is the class of calls that wait while it is over its capacity; ``message`` says another cause.
    """

    retry_after: float = 1.0
    priority: str = ""
    message: str = ""
    name: Literal["shed"] = "shed"


def _unfinished(value: type) -> Any:
    """Give a class for values in the making: the same slots, which can be written.

    Giving an object of it the other class makes it a frozen value, in a fifth of the time that the constructor takes,
    for a request that cannot wait for three of them. See ``docs/decisions/0004-quick-calls.md``.
    """
    return type(f"New{value.__name__}", (), {"__slots__": value.__slots__})  # type: ignore[attr-defined]


Refusal = Denied | StepUpRequired | ReviewRequired | Throttled | Shed
Verdict = Permit | Refusal
PERMIT = Permit()


@dataclass(frozen=True, slots=True)
class Rolled:
    """A decision's part in the rollout ``id``: ``arm`` is who decided, ``current`` or ``candidate``.

    ``other`` is the other side's decision, None where the candidate could not answer.
    """

    id: str
    stage: int
    arm: str
    other: Decision | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from a DecisionRequest.

    ``verdict`` is ``Permit`` or a typed refusal; ``advice`` holds values for the application; ``reasons`` has one
    entry per policy that spoke, the deciding one first. ``epoch`` and ``revision`` are the snapshot's. ``shadow`` is
    what would have been decided were the policies in shadow in force too; None where none of them speaks of the call.
    ``rolled`` tells of the rollout of a policy change that the decision was part of.
    """

    verdict: Verdict = PERMIT
    route: Route | None = None
    qos: Qos | None = None
    advice: Mapping[str, Any] = field(default_factory=_empty)
    limits: tuple[Limit, ...] = ()
    reasons: tuple[Reason, ...] = ()
    epoch: int = 0
    revision: int = 0
    shadow: Decision | None = None
    rolled: Rolled | None = None

    @property
    def permitted(self) -> bool:
        """Whether the verdict is a permit."""
        return isinstance(self.verdict, Permit)

    @property
    def drawn(self) -> bool:
        """Whether chance chose the route: the share of a split that nothing sticks."""
        if self.route is None or self.route.sticky:
            return False
        return any(reason.effect == "route" and reason.detail.startswith("split ") for reason in self.reasons)

    def sentence(self) -> str:
        """Give the decision and its first reason in one sentence for a person."""
        what: str = self.verdict.name
        if self.route is not None and self.permitted:
            what += f", route to {self.route.subset or 'any endpoint'}"
        return f"{what}: {self.reasons[0]}" if self.reasons else f"{what}: no policy speaks of this call"


NEW_FACTS, NEW_REQUEST, NEW_SOURCE = _unfinished(RequestFacts), _unfinished(DecisionRequest), _unfinished(Source)
NEW_DECISION = _unfinished(Decision)


class Refused(MeshError):
    """A decision refused the call; ``decision`` holds the typed refusal and the reasons."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(decision.sentence())
