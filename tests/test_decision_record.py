"""Records of the decision log: a question goes out and comes back, and what it hides is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import BusinessModel, Decision, DecisionLog, DecisionRequest, EntityRef, ModelContext, Principal
from mcp_sdk.decision_log import describe
from mcp_sdk.decision_record import request_from_record
from mcp_sdk.decisions import Denied, Geo, Phase, RequestFacts, Rolled, Source
from mcp_sdk.exceptions import RecordError
from mcp_sdk.policy.history.records import answer_of
from mcp_sdk.telemetry import Telemetry

text = st.text(max_size=8)
texts = st.lists(text, max_size=3).map(tuple)
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]))
values = st.one_of(text, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), moments, texts)
contexts = st.builds(
    ModelContext,
    st.sampled_from(["order", "user"]),
    text,
    st.none() | text,
    st.dictionaries(text, values, max_size=3),
    st.integers(0, 9),
    st.booleans(),
    st.none() | moments,
    text,
)
questions = st.builds(
    DecisionRequest,
    text,
    text,
    st.sampled_from(Phase),
    st.lists(contexts, max_size=2).map(lambda found: {one.model: one for one in found}),
    st.lists(st.builds(EntityRef, text, text), max_size=2).map(tuple),
    st.builds(
        RequestFacts, text, text, text, text, text, size=st.integers(-1, 9), geo=st.builds(Geo, text, text, text, text)
    ),
    st.builds(Principal, text, st.booleans(), text, texts, texts, st.booleans(), text, st.none() | moments),
    st.builds(Source, text, text, text, verified=st.booleans()),
    text,
    text,
    moments,
)


@given(questions)
def test_what_is_logged_can_be_asked_again(question: DecisionRequest) -> None:
    """A question without what is never logged comes back from its record as it was."""
    record = json.loads(json.dumps(describe(question, Decision(), Telemetry())))
    assert record["hidden"] == []
    assert request_from_record(record) == question


QUESTION = DecisionRequest(
    "transfers",
    "POST /transfers/t-1",
    contexts={"order": ModelContext("order", "o-1", "created", {"amount": 1250}, 7)},
    references=(EntityRef("order", "o-1"), EntityRef("transfer", "t-1")),
    request=RequestFacts(
        "POST", "/transfers/t-1", headers={"authorization": "canary"}, query={"token": "canary"}, host="transfers"
    ),
    principal=Principal("alice", authenticated=True, roles=("admin",), attributes={"secret": "canary"}),
    source=Source("shop", address="10.0.0.7"),
    now=datetime(2026, 11, 22, tzinfo=UTC),
)


def written(*, mask: Any = None, models: tuple[BusinessModel, ...] = (), **fields: Any) -> Any:
    """Give the record that a log writes."""
    records: list[Any] = []
    telemetry = Telemetry({model.name: model for model in models})
    DecisionLog(records.append, mask=mask).write(QUESTION, Decision(), telemetry, **fields)
    return json.loads(json.dumps(records[0]))


def test_what_is_never_logged_is_named() -> None:
    """Headers, the query, claims and the peer's address are hidden where there are any, in name only."""
    record = written()
    assert record["hidden"] == ["principal.attributes", "request.headers", "request.query", "source.address"]
    assert "canary" not in json.dumps(record)
    assert "10.0.0.7" not in json.dumps(record)
    assert request_from_record(record).request.headers == {}


def test_pseudonyms_hide_the_id_and_the_path() -> None:
    """Where ids have pseudonyms, the caller's id and the path are not there, and are named."""
    record = written(models=(BusinessModel("user", principal=True, pseudonymise=True),))
    assert {"principal.id", "request.path"} <= set(record["hidden"])
    assert (record["principal"]["id"], record["request"]["path"]) == ("", "")


def test_what_nobody_found_is_told() -> None:
    """A reference that was looked for in vain is another thing than one that nobody looked for."""
    assert written(absent=[EntityRef("transfer", "t-1")])["absent"] == [["transfer", "t-1"]]


def test_what_a_mask_changed_is_named() -> None:
    """A mask may change anything: what it changed counts as hidden, not as the truth."""

    def mask(record: dict[str, Any]) -> dict[str, Any]:
        record["principal"]["id"] = "…"
        record["contexts"][0]["attributes"] = {}
        del record["request"]["geo"]["city"]
        return {**record, "time": "2026-01-01T00:00:00+00:00"}

    assert {"principal.id", "order", "request.geo.city", "now"} <= set(written(mask=mask)["hidden"])


def test_a_mask_that_hides_references_hides_their_entities() -> None:
    """Without its references nobody can tell what a question was not told."""
    assert {"order", "transfer"} <= set(written(mask=lambda record: {**record, "references": []})["hidden"])


def changed(path: str, value: Any) -> Any:
    """Give a record with one field changed; None takes it out."""
    record = written()
    *parents, name = path.split(".")
    inner = record
    for parent in parents:
        inner = inner[parent]
    if value is None:
        del inner[name]
    else:
        inner[name] = value
    return record


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "the line is no JSON object"),
        ({"time": 1}, "no record of a decision: it has no 'format'"),
        (changed("format", 2), "the record is of format 2; this version reads 1"),
        (changed("service", None), "service is missing"),
        (changed("time", "soon"), "time is 'soon', which is none"),
        (changed("time", "2026-01-01T00:00:00"), "time is '2026-01-01T00:00:00', which names no time zone"),
        (changed("time", None), "time is missing"),
        (changed("phase", "later"), "phase is 'later', which is none"),
        (changed("principal.mfa", "yes"), "principal.mfa is 'yes', not true or false"),
        (changed("principal.roles", ["a", 1]), "principal.roles holds what is no text"),
        (changed("request.size", True), "request.size is True, not a whole number"),
        (changed("request.geo", "DE"), "request.geo is 'DE', not an object"),
        (changed("references", [["order"]]), "references cannot be read: "),
        (changed("contexts", [{"model": ["x"]}]), "contexts cannot be read: "),
        (changed("contexts", [{**written()["contexts"][0], "model": ["x"]}]), "contexts cannot be read: "),
    ],
)
def test_what_cannot_be_read_is_said(record: Any, message: str) -> None:
    """The field, its value and what it should be."""
    with pytest.raises(RecordError) as caught:
        request_from_record(record)
    assert str(caught.value).startswith(message)


def test_while_a_change_is_rolled_out_both_answers_are_logged() -> None:
    """Which side decided, and what the other would have; no member of it otherwise."""
    rolled = Decision(rolled=Rolled("r-1", 2, "current", Decision(Denied("not here"))))
    told = describe(DecisionRequest("shop"), rolled, Telemetry())["rollout"]
    assert (told["id"], told["stage"], told["arm"], told["other"]["verdict"]) == ("r-1", 2, "current", "deny")
    assert "rollout" not in describe(DecisionRequest("shop"), Decision(), Telemetry())


def test_a_refusal_that_is_not_carried_out_says_so() -> None:
    """No member of it otherwise, on a permit neither; the record is read as any other."""
    refused, question = Decision(Denied("not here")), DecisionRequest("shop")
    observed = describe(question, refused, Telemetry(), enforced=False)
    assert (observed["verdict"], observed["enforced"]) == ("deny", False)
    assert "enforced" not in describe(question, refused, Telemetry())
    assert "enforced" not in describe(question, Decision(), Telemetry(), enforced=False)
    assert request_from_record(observed).service == "shop"
    assert answer_of(observed) == answer_of(refused)
