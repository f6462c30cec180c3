"""The decision log: one record a decision, masked before it leaves.

A mask that fails drops the record and counts it: a record that was not masked is never written.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mcp_sdk import shadow
from mcp_sdk.context import EntityRef
from mcp_sdk.decision_record import hide_changes, plain_decision, plain_request
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.telemetry import Telemetry

__all__ = ["DecisionLog", "Mask", "Sink", "describe", "print_decision"]

Mask = Callable[[dict[str, Any]], dict[str, Any]]
Sink = Callable[[dict[str, Any]], None]
logger = logging.getLogger("mcp_sdk.decisions")


def describe(
    request: DecisionRequest,
    decision: Decision,
    telemetry: Telemetry,
    *,
    absent: Iterable[EntityRef] = (),
    enforced: bool = True,
) -> dict[str, Any]:
    """Give a decision and the input it was made from as plain JSON, enough to decide it again.

    ``mcp_sdk.decision_record`` says what is in it. ``telemetry`` knows what may not be shown where ids are pseudonyms;
    ``absent`` are references that policies look at and nobody found; ``enforced`` says whether refusals are carried
    out.
    """
    plain = plain_request(
        request,
        operation=telemetry.pseudonyms.operation(request),
        anonymous=telemetry.pseudonyms.anonymous,
        pseudonymous=telemetry.pseudonyms.used,
        absent=absent,
    )
    return plain | plain_decision(decision, enforced=enforced)


def _to_logger(record: dict[str, Any]) -> None:
    logger.info("%s", json.dumps(record, ensure_ascii=False))


class DecisionLog:
    """Writes masked records to a sink: the logger ``mcp_sdk.decisions`` (a JSON line, level INFO) unless given."""

    def __init__(self, sink: Sink | None = None, *, mask: Mask | None = None) -> None:
        self._sink = sink
        self._mask = mask
        self._tap: Sink | None = None

    def tap(self, sink: Sink | None) -> None:
        """Show every masked record to ``sink`` too, until it is told None."""
        self._tap = sink

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self._sink is not None or self._tap is not None or logger.isEnabledFor(logging.INFO)

    def write(
        self,
        request: DecisionRequest,
        decision: Decision,
        telemetry: Telemetry,
        *,
        absent: Iterable[EntityRef] = (),
        enforced: bool = True,
    ) -> None:
        """Mask and write one record; never raises. ``absent`` and ``enforced`` are as for ``describe``."""
        if not self.enabled:
            return
        try:
            masked = self._masked(describe(request, decision, telemetry, absent=absent, enforced=enforced))
        except Exception:  # noqa: BLE001 - a mask is the user's code; whatever it raises, nothing unmasked may leave
            telemetry.dropped("decision_log", "mask_failed")
            return
        self._deliver(masked, telemetry)

    def _masked(self, record: dict[str, Any]) -> dict[str, Any]:
        if self._mask is None:
            return record
        before = json.dumps(record)
        return hide_changes(before, dict(self._mask(record)))

    def _deliver(self, record: Mapping[str, Any], telemetry: Telemetry) -> None:
        for sink in (self._sink or _to_logger, self._tap):
            try:
                if sink is not None:
                    sink(dict(record))
            except Exception:  # noqa: BLE001 - a sink is the user's code and must not fail the request
                telemetry.dropped("decision_log", "sink_failed")


def print_decision(request: DecisionRequest, decision: Decision, telemetry: Telemetry, mode: str = "enforce") -> None:
    """Write a decision with its reason to standard error in one line, as ``MCP_SDK_DEBUG=1`` asks for."""
    operation = telemetry.pseudonyms.operation(request)
    line = f"mcp_sdk {request.phase.value} {request.service} {operation}: {decision.sentence()}"
    if mode == "observe" and not decision.permitted:
        line += " [observed only]"
    if words := shadow.in_words(decision):
        line += f" [in shadow: {words}]"
    sys.stderr.write("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line) + "\n")
