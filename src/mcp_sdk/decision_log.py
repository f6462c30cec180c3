"""The decision log: one record a decision, masked before it leaves.

A mask that fails drops the record and counts it: a record that was not masked is never written.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.pseudonyms import Pseudonyms
from mcp_sdk.telemetry import Telemetry

__all__ = ["DecisionLog", "Mask", "Sink", "describe", "print_decision"]

Mask = Callable[[dict[str, Any]], dict[str, Any]]
Sink = Callable[[dict[str, Any]], None]
logger = logging.getLogger("mcp_sdk.decisions")


def describe(request: DecisionRequest, decision: Decision, pseudonyms: Pseudonyms) -> dict[str, Any]:
    """Give a decision and the input it was made from as plain JSON, enough to decide it again.

    Headers, the query and the principal's further attributes are left out: they hold secrets more often than reasons.
    Where ids are pseudonyms, the principal's is left out, for its pseudonym stands among the contexts, and the
    operation is the pattern that it fits.
    """
    return {
        "time": request.now.isoformat(),
        "service": request.service,
        "operation": pseudonyms.operation(request),
        "phase": request.phase.value,
        "namespace": request.namespace,
        "environment": request.environment,
        "principal": _principal(request, pseudonyms),
        "source": {"service": request.source.service, "verified": request.source.verified},
        "geo": {"country": request.request.geo.country, "region": request.request.geo.region},
        "contexts": [context.to_dict() for context in request.contexts.values()],
        "verdict": decision.verdict.name,
        "route": str(decision.route.subset) if decision.route is not None else None,
        "qos": decision.qos.priority if decision.qos is not None else None,
        "reasons": [_reason(reason) for reason in decision.reasons],
        "epoch": decision.epoch,
        "revision": decision.revision,
    }


def _principal(request: DecisionRequest, pseudonyms: Pseudonyms) -> dict[str, Any]:
    principal = request.principal
    return {
        "id": pseudonyms.principal(request),
        "authenticated": principal.authenticated,
        "roles": list(principal.roles),
        "scopes": list(principal.scopes),
        "mfa": principal.mfa,
        "acr": principal.acr,
    }


def _reason(reason: Any) -> dict[str, Any]:
    return {name: getattr(reason, name) for name in ("policy", "kind", "rule", "effect", "clause", "detail", "trust")}


def _to_logger(record: dict[str, Any]) -> None:
    logger.info("%s", json.dumps(record, ensure_ascii=False))


class DecisionLog:
    """Writes masked records to a sink: the logger ``mcp_sdk.decisions`` (a JSON line, level INFO) unless given."""

    def __init__(self, sink: Sink | None = None, *, mask: Mask | None = None) -> None:
        self._sink = sink
        self._mask = mask

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self._sink is not None or logger.isEnabledFor(logging.INFO)

    def write(self, request: DecisionRequest, decision: Decision, telemetry: Telemetry) -> None:
        """Mask and write one record; never raises."""
        if not self.enabled:
            return
        try:
            record = describe(request, decision, telemetry.pseudonyms)
            masked = dict(record if self._mask is None else self._mask(record))
        except Exception:  # noqa: BLE001 - a mask is the user's code; whatever it raises, nothing unmasked may leave
            telemetry.dropped("decision_log", "mask_failed")
            return
        self._deliver(masked, telemetry)

    def _deliver(self, record: Mapping[str, Any], telemetry: Telemetry) -> None:
        try:
            (self._sink or _to_logger)(dict(record))
        except Exception:  # noqa: BLE001 - a sink is the user's code and must not fail the request
            telemetry.dropped("decision_log", "sink_failed")


def print_decision(request: DecisionRequest, decision: Decision, telemetry: Telemetry, mode: str = "enforce") -> None:
    """Write a decision with its reason to standard error in one line, as ``MCP_SDK_DEBUG=1`` asks for."""
    operation = telemetry.pseudonyms.operation(request)
    line = f"mcp_sdk {request.phase.value} {request.service} {operation}: {decision.sentence()}"
    if mode == "observe" and not decision.permitted:
        line += " [observed only]"
    sys.stderr.write("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line) + "\n")
