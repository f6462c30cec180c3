"""``mcpctl top`` and ``mcpctl tap``."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from verbs import Typist

from mcp_sdk import Attribute, BusinessModel, DecisionRequest, ModelContext
from mcp_sdk.cli.tap import Models, decision_line, events, stored
from mcp_sdk.context import Trust
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.protocol.filters import Filter


def test_top_once_counts_entities_by_state(seeded: Typist) -> None:
    """And services that announced an endpoint, or made a transition."""
    told = seeded.json("top", "--once", "--interval", "0.1")
    assert {(row["state"], row["entities"]) for row in told["entities"]} == {("created", 1), ("paid", 1)}
    assert seeded("top", "--once", "--interval", "0.1") == 0
    assert "per_second" in seeded.out


def test_top_refreshes_and_counts_what_moves(seeded: Typist) -> None:
    """A line of JSON each time; Ctrl-C ends it."""
    running = seeded.begin("top", "--interval", "0.3", "-o", "json")
    running.until('"entities"')
    with seeded.mesh() as mesh:
        mesh.publish("order", "o-2", state="paid")
        assert mesh.control_plane.flush(20)
        running.until('"entities": 2')
    running.until('"service": "shop"')
    assert running.interrupt() == 0
    last = json.loads(running.out.splitlines()[-1])
    assert [row["per_second"] > 0 for row in last["services"] if row["service"] == "shop"] == [True]


def test_tap_shows_transitions_of_a_store(seeded: Typist, place: str) -> None:
    """And says that a store knows of no decisions; only what the filter names is shown."""
    if place == "server":
        return
    running = seeded.begin("tap", "order.state=paid", "-o", "json", "--count", "1")
    running.until("a store knows of no decisions")
    with seeded.mesh() as mesh:
        mesh.publish("order", "o-3", state="created")
        mesh.publish("order", "o-3", state="paid")
        assert mesh.control_plane.flush(20)
    running.until('"to": "paid"')
    assert running.ended() == 0
    assert "created" not in [json.loads(line)["to"] for line in running.out.splitlines()]
    assert seeded("tap", "--verdict", "denied") == 2
    assert "needs a server" in seeded.err


def test_tap_shows_decisions_of_a_server(seeded: Typist, place: str) -> None:
    """By whom, on what, how and why; a server without a tap is told as such."""
    if place == "store":
        return
    paths = httpx.get(f"{seeded.url}/openapi.json", trust_env=False).json()["paths"]
    if "/v1/tap" not in paths:
        assert seeded("tap", "order.state=created", "--verdict", "denied") == 3
        assert "has no tap (404 for /v1/tap)" in seeded.err
        return
    running = seeded.begin("tap", "--verdict", "denied", "--count", "1")
    running.until("tapping decisions")
    costly = {"order": ModelContext("order", "o-2", "created", {"amount": 500_000}, trust=Trust.STORE)}
    with seeded.mesh() as mesh:
        while "by orders/large" not in running.out:
            mesh.decide(DecisionRequest("shop", "POST /orders", environment=seeded.environment, contexts=costly))
            time.sleep(0.05)
    assert running.ended() == 0


def test_a_decision_is_written_in_a_line() -> None:
    """When, who, what, how it was decided, by which rule, of which entity."""
    record = {"time": "T", "phase": "inbound", "service": "shop", "operation": "POST /orders", "verdict": "deny"}
    record |= {"reasons": [{"policy": "orders", "rule": "large"}]}
    record |= {"contexts": [{"model": "order", "id": "o-1", "state": "created"}]}
    assert decision_line(record) == "T  inbound  shop  POST /orders  deny  by orders/large  order o-1 created"
    assert decision_line({}) == ""
    observed = decision_line(record | {"enforced": False})
    assert observed == "T  inbound  shop  POST /orders  deny (observed)  by orders/large  order o-1 created"


def test_a_filter_that_is_none_is_told(seeded: Typist) -> None:
    """With an example."""
    assert seeded("tap", "order=created") == 2
    assert "write MODEL.FIELD=VALUE" in seeded.err


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("ordr.state=paid", "unknown model 'ordr'. Did you mean 'order'?"),
        ("order.amout=1", "order has no 'amout'. Did you mean 'amount'?"),
        ("order.state=payed", "unknown state 'payed' of model 'order'."),
        (
            "order.amount=much",
            "order.amount='much': the attribute is declared decimal, and this is none; write a number",
        ),
        ("order.amount=12.501", "order.amount='12.501': the attribute has 2 digits after the point; write 12.50"),
    ],
)
def test_a_filter_that_nothing_can_fit_is_told(seeded: Typist, written: str, said: str) -> None:
    """The tap would stay silent for ever."""
    assert seeded("tap", written) == 2
    assert said in seeded.err


PARCEL = BusinessModel(
    "parcel",
    states=("packed", "sent"),
    attributes={
        "fee": Attribute("fee", "decimal", scale=3),
        "items": "int",
        "weight": "double",
        "express": "bool",
        "due": "timestamp",
        "tags": "list",
        "note": "string",
    },
)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("parcel.fee=2.5", Decimal("2.500")),
        ("parcel.fee=2.500", Decimal("2.5")),
        ("parcel.items=7", 7),
        ("parcel.weight=1", 1.0),
        ("parcel.express=true", True),
        ("parcel.express=True", True),
        ("parcel.express=false", False),
        ("parcel.due=2026-11-22T13:00:00+01:00", datetime(2026, 11, 22, 12, tzinfo=UTC)),
        ("parcel.due=2026-11-22T12:00:00Z", datetime(2026, 11, 22, 12, tzinfo=UTC)),
        ("parcel.tags=a,b", ("a", "b")),
        ("parcel.note=a=b", "a=b"),
        ("parcel.note=", ""),
    ],
)
def test_a_filter_is_written_as_people_write_values(written: str, value: Any) -> None:
    """It fits the very attribute that ``get`` shows so, whatever stores and records hold in its place."""
    name = written.partition("=")[0].removeprefix("parcel.")
    context = ModelContext("parcel", "p-1", attributes={name: PARCEL.attributes[name].capture(value)})
    wanted = Filter.parse([stored(written, {"parcel": PARCEL})])
    assert wanted.fits_decision({"contexts": [context.to_dict()]})


@pytest.mark.parametrize("value", ["250", "250.00"])
def test_a_tap_on_an_amount_shows_what_has_it(seeded: Typist, place: str, value: str) -> None:
    """As it is typed or as ``get`` prints it; what has another amount is not shown."""
    running = seeded.begin("tap", f"order.amount={value}", "--transitions", "-o", "json", "--count", "1")
    running.until("tapping decisions" if place == "server" else "showing transitions")
    with seeded.mesh() as mesh:
        mesh.publish("order", "o-8", state="created", amount="251.00")
        mesh.publish("order", "o-9", state="created", amount="250.00")
        running.until("o-9")
    assert running.ended() == 0
    assert "o-8" not in running.out


def test_a_tap_of_a_server_shows_attributes_as_get_does(typist: Typist, place: str) -> None:
    """Also those of a model that is declared while the tap runs."""
    if place == "store":
        return
    running = typist.begin("tap", "--transitions", "--count", "1")
    running.until("tapping decisions")
    with typist.mesh() as mesh:
        mesh.publish("order", "o-1", state="created", amount="250.00")
        running.until("amount=250.00")
    assert running.ended() == 0


def test_a_model_that_nobody_declares_is_not_asked_for_at_each_line() -> None:
    """It has no attributes; a control plane that is away ends nothing, and one that is asked again may know it."""
    asked = list[str]()

    def away() -> dict[str, BusinessModel]:
        asked.append("")
        raise StoreUnavailable("away")

    models = Models(away)
    assert [models("parcel").attributes for _ in range(3)] == [{}, {}, {}]
    assert asked == [""]
    assert Models(lambda: {"parcel": PARCEL})("parcel") is PARCEL


def test_before_a_model_is_declared_a_filter_is_taken_as_it_is(typist: Typist, place: str) -> None:
    """The service that declares it may start later; that its value is not read is said."""
    if place == "store":
        return
    running = typist.begin("tap", "order.amount=25000")
    running.until("no model is declared yet: a filter's value is taken as it is stored")
    running.until("tapping decisions")
    assert running.interrupt() == 0


def test_server_sent_events_are_read() -> None:
    """Comments and other fields are passed over, data of several lines is one."""
    text = ': hello\nevent: decision\ndata: {"a":\ndata: 1}\n\nid: 3\n\ndata: []\n\ndata: {"b": 2}\n\n'
    assert list(events(iter(text.splitlines()))) == [("decision", {"a": 1}), ("message", {"b": 2})]
