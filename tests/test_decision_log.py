"""The decision log: masked, or not at all."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from mcp_sdk import (
    BusinessModel,
    Decision,
    DecisionLog,
    DecisionRequest,
    Denied,
    ModelContext,
    Principal,
    Reason,
    Route,
)
from mcp_sdk.decision_log import describe, print_decision
from mcp_sdk.decisions import Qos, RequestFacts
from mcp_sdk.services import Subset
from mcp_sdk.telemetry import Telemetry

REQUEST = DecisionRequest(
    "transfers",
    "POST /transfers",
    contexts={"order": ModelContext("order", "o-1", "created", {"amount": 1250}, 7)},
    request=RequestFacts(headers={"authorization": "canary"}, query={"token": "canary"}),
    principal=Principal("alice", authenticated=True, attributes={"secret": "canary"}),
)
DECISION = Decision(
    Denied("not served"),
    Route(Subset("v2")),
    Qos("high"),
    reasons=(Reason("region", "AccessPolicy", "blocked", "deny", "request.geo.country in blocked"),),
    revision=3,
)


def test_a_record_is_enough_to_decide_again() -> None:
    """Input and outcome are there as plain JSON; headers, query and claims are not."""
    record = json.loads(json.dumps(describe(REQUEST, DECISION, Telemetry())))
    assert record["contexts"][0]["attributes"] == {"amount": 1250}
    assert (record["verdict"], record["qos"], record["revision"]) == ("deny", "high", 3)
    assert record["reasons"][0]["clause"] == "request.geo.country in blocked"
    assert record["principal"]["id"] == "alice"
    assert "canary" not in json.dumps(record)


def test_a_mask_changes_the_record() -> None:
    """What the mask gives is what is written."""
    written: list[Any] = []
    telemetry = Telemetry()
    DecisionLog(written.append, mask=lambda record: {"verdict": record["verdict"]}).write(REQUEST, DECISION, telemetry)
    assert written == [{"verdict": "deny"}]
    assert telemetry.drops.read() == {}


def fail(record: dict[str, Any]) -> dict[str, Any]:
    """Mask the half and break."""
    del record["principal"]
    raise ValueError(record)


@pytest.mark.parametrize("mask", [fail, lambda _: None, lambda _: 3])
def test_a_mask_that_fails_drops_the_record(mask: Any) -> None:
    """Nothing unmasked leaves; what was dropped is counted."""
    written: list[Any] = []
    telemetry = Telemetry()
    DecisionLog(written.append, mask=mask).write(REQUEST, DECISION, telemetry)
    assert written == []
    assert telemetry.drops.read() == {("decision_log", "mask_failed"): 1}


def test_a_sink_that_fails_fails_no_request() -> None:
    """It is counted."""
    telemetry = Telemetry()
    DecisionLog(fail).write(REQUEST, DECISION, telemetry)  # type: ignore[arg-type]
    assert telemetry.drops.read() == {("decision_log", "sink_failed"): 1}


def test_without_a_sink_a_logger_gets_json(caplog: pytest.LogCaptureFixture) -> None:
    """One line at level INFO, and no work where nobody listens."""
    log = DecisionLog()
    assert not log.enabled
    log.write(REQUEST, DECISION, Telemetry())
    with caplog.at_level(logging.INFO, "mcp_sdk.decisions"):
        log.write(REQUEST, DECISION, Telemetry())
    (record,) = caplog.records
    assert json.loads(record.getMessage())["service"] == "transfers"


def test_ids_of_pseudonymised_principals_stay_here() -> None:
    """The pseudonym stands among the contexts; the id does not leave."""
    written: list[Any] = []
    telemetry = Telemetry({"user": BusinessModel("user", principal=True, pseudonymise=True)})
    DecisionLog(written.append).write(REQUEST, DECISION, telemetry)
    assert "alice" not in json.dumps(written)


def test_debug_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The decision and its reason; nothing that a terminal would obey."""
    hostile = DecisionRequest("shop", "GET /\x1b[2J\n\rfake line")
    print_decision(REQUEST, DECISION, Telemetry())
    print_decision(hostile, Decision(), Telemetry())
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "mcp_sdk inbound transfers POST /transfers: deny: deny by rule 'blocked' of 'region' because"
    )
    assert "\x1b" not in second
    assert second.endswith("no policy speaks of this call")
    print_decision(REQUEST, DECISION, Telemetry(), "observe")
    assert capsys.readouterr().err == f"{first} [observed only]\n"


def test_a_log_that_is_tapped_shows_the_masked_record_too() -> None:
    """While somebody looks on the log is enabled, and shows what the mask leaves; after that it is as before."""
    shown: list[Any] = []
    log = DecisionLog(mask=lambda record: {"verdict": record["verdict"]})
    assert not log.enabled
    log.tap(shown.append)
    assert log.enabled
    log.write(REQUEST, DECISION, Telemetry())
    log.tap(None)
    log.write(REQUEST, DECISION, Telemetry())
    assert shown == [{"verdict": "deny"}]
    assert not log.enabled


def test_a_tap_that_fails_keeps_nothing_from_the_sink() -> None:
    """The sink has its record whatever happens to the tap, and the failure is counted."""
    written: list[Any] = []
    telemetry = Telemetry()

    def broken(record: dict[str, Any]) -> None:
        raise RuntimeError

    log = DecisionLog(written.append)
    log.tap(broken)
    log.write(REQUEST, DECISION, telemetry)
    assert len(written) == 1
    assert telemetry.drops.read() == {("decision_log", "sink_failed"): 1}
