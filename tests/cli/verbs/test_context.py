"""``mcpctl context``: get, list, watch, forget."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from verbs import Typist

from mcp_sdk.cli.forget import strike
from mcp_sdk.context import EntityRef
from mcp_sdk.models import BusinessModel
from mcp_sdk.snapshot import canonical

REF = EntityRef("order", "o-1")


def test_forgetting_what_nobody_knows_says_so_in_words(seeded: Typist, tmp_path: Path) -> None:
    """Beside the receipt, which is as ever; of what was held nothing is said."""
    receipt = seeded.json("context", "forget", "order", "o-9")
    assert (receipt["contexts"], receipt["transitions"], receipt["decision_logs"]) == (0, 0, [])
    assert seeded.err == f"nothing was held of order 'o-9' in default/{seeded.environment}, so nothing was erased\n"
    (log := tmp_path / "decisions.jsonl").write_text("")
    assert seeded("context", "forget", "order", "o-9", "--decision-log", str(log)) == 0
    assert f"in default/{seeded.environment} nor in the logs, so" in seeded.err
    seeded.json("context", "forget", "order", "o-1")
    assert seeded.err == ""


def test_get_tells_one_entity(seeded: Typist) -> None:
    """As it is stored."""
    told = seeded.json("context", "get", "order", "o-1")
    assert (told["id"], told["state"], told["revision"]) == ("o-1", "paid", 2)
    assert told["attributes"] == {"amount": "12.50"}
    assert seeded("context", "get", "order", "o-9") == 2


def test_list_chooses_by_state_and_prefix(seeded: Typist) -> None:
    """A state that the model does not have is named."""
    assert [row["id"] for row in seeded.json("context", "list", "order")] == ["o-1", "o-2"]
    assert [row["id"] for row in seeded.json("context", "list", "order", "--state", "created")] == ["o-2"]
    assert seeded.json("context", "list", "order", "--prefix", "x") == []
    assert seeded("context", "list", "order", "--state", "payed") == 2
    assert "Did you mean 'paid'?" in seeded.err


def test_a_list_goes_on_where_a_server_cuts_a_page(seeded: Typist) -> None:
    """Twelve entities of a megabyte are more than a server says at once; all are listed, up to the limit."""
    parcel = BusinessModel("parcel", states=("sent",), attributes={"note": "string"})
    with seeded.mesh(parcel) as mesh:
        for number in range(12):
            mesh.publish("parcel", f"large-{number:02}", state="sent", note="x" * 900_000)
        assert mesh.control_plane.flush(60)
    for verb in (("context", "list", "parcel"), ("get", "parcel")):
        assert len(seeded.json(*verb)) == 12
        assert seeded.err == ""
        assert len(seeded.json(*verb, "--limit", "11")) == 11
        assert seeded.err == "these are the first 11; list more with --limit N\n"
        assert seeded(*verb, "--limit", "0") == 2


def test_watch_prints_json_lines_as_they_happen_until_ctrl_c(seeded: Typist) -> None:
    """What is watched for, and nothing else; Ctrl-C is no failure."""
    watching = seeded.begin("context", "watch", "order", "-o", "json")
    watching.until("watching order")
    with seeded.mesh() as mesh:
        mesh.publish("order", "o-2", state="paid")
        assert mesh.control_plane.flush(20)
    watching.until('"o-2"')
    assert seeded("context", "forget", "order", "o-2") == 0
    watching.until("forgotten")
    assert watching.interrupt() == 0
    moved, forgotten = map(json.loads, watching.out.splitlines())
    assert (moved["to"], moved["revision"], moved["source"], moved["attributes"]) == ("paid", 2, "shop", {})
    assert forgotten == {"model": "order", "id": "o-2", "status": "forgotten"}


def test_watch_tells_people_of_one_entity_and_ends_by_count(seeded: Typist) -> None:
    """A line each."""
    watching = seeded.begin("context", "watch", "order", "o-2", "--state", "paid", "--count", "1")
    watching.until("watching order o-2")
    with seeded.mesh() as mesh:
        mesh.publish("order", "o-1", state="created")
        mesh.publish("order", "o-2", state="paid")
        assert mesh.control_plane.flush(20)
    watching.until("order o-2  -> paid")
    assert watching.ended() == 0
    assert "o-1" not in watching.out


def test_what_is_forgotten_is_gone_everywhere(seeded: Typist) -> None:
    """From contexts and transitions, and from a service that held it; the receipt says so, and can be checked."""
    with seeded.mesh() as service:
        assert service.control_plane.fetch([REF]).result(20)
        receipt = seeded.json("context", "forget", "order", "o-1")
        deadline = time.monotonic() + 20
        while service.control_plane.known(REF) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert service.control_plane.history(REF).result(20) == ()
        assert REF not in service.control_plane.fetch([REF]).result(20)
    digest = receipt.pop("sha256")
    assert digest == hashlib.sha256(canonical(receipt)).hexdigest()
    assert (receipt["contexts"], receipt["transitions"], receipt["id"]) == (1, 2, "o-1")
    assert receipt["by"]
    assert receipt["at"]


def test_a_decision_log_is_struck(seeded: Typist) -> None:
    """Only lines that name the entity go; the receipt counts them. A log that is not there keeps all as it was."""
    log = seeded.folder / "decisions.jsonl"
    kept = {"service": "shop", "operation": "GET /orders/o-11", "contexts": [{"model": "user", "id": "o-1"}]}
    gone = {"service": "shop", "operation": "GET /", "contexts": [{"model": "order", "id": "o-1"}]}
    log.write_text(f"{json.dumps(kept)}\n{json.dumps(gone)}\n")
    assert seeded("context", "forget", "order", "o-1", "--decision-log", "nowhere.jsonl") == 2
    assert seeded.json("context", "get", "order", "o-1")["id"] == "o-1"
    receipt = seeded.json("context", "forget", "order", "o-1", "--decision-log", str(log))
    assert receipt["decision_logs"] == [{"file": str(log), "lines": 1}]
    assert [json.loads(line) for line in log.read_text().splitlines()] == [kept]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, where no file can be made")
def test_a_log_that_cannot_be_rewritten_is_in_the_receipt(seeded: Typist) -> None:
    """What was erased is said all the same, and what still names the entity."""
    receipt = seeded.json("context", "forget", "order", "o-1", "--decision-log", "/proc/self/status", status=3)
    assert (receipt["contexts"], receipt["decision_logs"][0]["lines"]) == (1, 0)
    assert "still names it" in seeded.err


@pytest.mark.parametrize(
    ("line", "goes"),
    [
        ('{"references": [["order", "o-1"]]}', True),
        ('{"absent": [["order", "o-1"]]}', True),
        ('{"contexts": [{"model": "order", "id": "o-2"}]}', False),
        ('{"operation": "GET /orders/o%2D1"}', True),
        ('{"request": {"path": "/orders/o-1/items"}}', True),
        ('{"request": {"path": "/orders/o-12"}}', False),
        ('{"contexts": [{"model": "\\u006frder", "id": "\\u006f-1"}]}', True),
        ("half a line of o-1 {", True),
        ("half a line of another {", False),
        ("[]", False),
    ],
)
def test_which_lines_name_an_entity(tmp_path: Path, line: str, goes: bool) -> None:
    """As a context, a reference or a part of a path; of what cannot be read, what holds the id."""
    log = tmp_path / "log"
    log.write_text(f"{line}\n")
    log.chmod(0o640)
    assert strike(log, REF) == goes
    assert log.read_text() == ("" if goes else f"{line}\n")
    assert log.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [log]
