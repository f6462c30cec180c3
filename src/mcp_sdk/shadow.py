"""What policies in shadow would have made of a call, in words that may be labels.

A policy in shadow is evaluated and recorded, and never enforced. ``Decision.shadow`` is the decision that there would
have been; this module says which policy in shadow would have made the difference, and which.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcp_sdk.decisions import Decision, Reason

__all__ = ["OUTCOMES", "SAME", "in_words", "outcomes", "spoken"]

SAME = "same"
OUTCOMES = frozenset(
    {SAME, "deny", "nothing_granted", "review", "step_up", "throttle", "shed", "route", "qos", "limit", "advice"}
)
"""Everything that an outcome can be: ``nothing_granted`` is a refusal by the default of a policy, no rule of which
granted; ``limit`` a limit that the call would have spent from; ``same`` a word that would have changed nothing."""


def spoken(decision: Decision) -> tuple[Reason, ...]:
    """Give the reasons of a decision that come from policies in shadow, those of limits too."""
    reasons = (*decision.reasons, *(limit.reason for limit in decision.limits))
    return tuple(reason for reason in reasons if reason.shadow)


def outcomes(decision: Decision) -> Iterator[tuple[Reason, str]]:
    """Yield, for each word of a policy in shadow, what would have been otherwise had the policy been in force."""
    if decision.shadow is not None:
        for reason in spoken(decision.shadow):
            yield reason, _outcome(decision, decision.shadow, reason)


def in_words(decision: Decision) -> str:
    """Say for a person what policies in shadow would have changed; empty where none speaks of the call."""
    words = list(outcomes(decision))
    changed = "; ".join(str(reason) for reason, outcome in words if outcome != SAME)
    return changed or ("the same" if words else "")


def _outcome(decision: Decision, shadow: Decision, reason: Reason) -> str:
    name = shadow.verdict.name
    if reason.kind == "RateLimitPolicy" and reason.effect == "limit":
        return "limit"
    if name != decision.verdict.name and reason.effect == name:
        return "nothing_granted" if name == "deny" and not reason.rule else name
    if reason.effect == "route" and shadow.route != decision.route:
        return "route"
    if reason.effect == "qos" and shadow.qos != decision.qos:
        return "qos"
    advises = reason.effect in ("route", "qos") and shadow.advice != decision.advice
    return "advice" if advises else SAME
