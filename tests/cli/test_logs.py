"""``mcpctl policy simulate`` and ``replay`` over logs on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk import BusinessModel, DecisionLog, DecisionRequest, Mesh, ModelContext
from mcp_sdk.cli.main import main
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision

POLICY = """\
kind: AccessPolicy
metadata: {name: orders}
spec:
  target: {service: orders}
  default: permit
  rules: [{name: large, when: "has(order.items) && order.items > 5", effect: deny}]
"""
ORDER = BusinessModel("order", attributes={"items": "int"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with policies, changed ones, a store that holds the first, and the log of eight calls."""
    models = f"models:\n- {json.dumps({'name': 'order', 'attributes': [{'name': 'items', 'type': 'int'}]})}\n"
    for name, text in (("policies", POLICY), ("changed", POLICY.replace("> 5", "> 3"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models.yaml").write_text(models)
        (tmp_path / name / "orders.yaml").write_text(text)
    with (tmp_path / "log.jsonl").open("w") as log, _mesh(tmp_path, log) as mesh:
        programs = compile_policies({"p.yaml": POLICY}, {"order": ORDER})
        mesh.control_plane.apply(PolicyRevision(0, programs, {"p.yaml": POLICY}, "test")).result(5)
        for items in range(8):
            order = ModelContext("order", "o", attributes={"items": items})
            mesh.decide(DecisionRequest("orders", "GET /orders/o", contexts={"order": order}))
    return tmp_path


def _mesh(folder: Path, log: Any) -> Mesh:
    sink = DecisionLog(lambda record: print(json.dumps(record), file=log))
    return Mesh(service="orders", control_plane=f"sqlite:///{folder}/mesh.db", models=[ORDER], decision_log=sink)


def run(folder: Path, *argv: str) -> tuple[int, str, str]:
    """Run a verb of ``mcpctl policy``; ``@name`` is a path in the folder."""
    out, err = io.StringIO(), io.StringIO()
    paths = [str(folder / arg[1:]) if arg.startswith("@") else arg for arg in argv]
    return main(["policy", *paths], out, err), out.getvalue(), err.getvalue()


def test_the_same_policies_end_with_0(folder: Path) -> None:
    """Files and store alike: what was decided is decided again."""
    store = f"sqlite:///{folder}/mesh.db"
    for argv in (["-p", "@policies"], ["-s", store]):
        status, out, err = run(folder, "replay", "@log.jsonl", *argv)
        assert (status, out, err) == (0, "8 calls decided, 0 otherwise\n", "")
    assert run(folder, "simulate", "@log.jsonl", "-p", "@policies", "-s", store)[0] == 0


def test_somebody_decided_otherwise_ends_with_1(folder: Path) -> None:
    """Unless only refusals, or nothing, should fail."""
    argv = ["simulate", "@log.jsonl", "-p", "@changed", "--against", "@policies"]
    status, out, _ = run(folder, *argv)
    assert (status, out.splitlines()[0]) == (1, "8 calls decided, 2 otherwise (25.0%), 2 of them newly refused")
    assert "verdict  permit  deny   2" in out
    assert [run(folder, *argv, "--fail-on", what)[0] for what in ("any", "refused", "none")] == [1, 1, 0]
    (folder / "changed" / "models.yaml").unlink()
    assert run(folder, *argv)[1] == out, "the models are those of the policies it is compared with"
    loosened = ["replay", "@log.jsonl", "-p", "@loose"]
    (folder / "loose").mkdir()
    (folder / "loose" / "models.yaml").write_text((folder / "policies" / "models.yaml").read_text())
    (folder / "loose" / "orders.yaml").write_text(POLICY.replace("> 5", "> 9"))
    assert [run(folder, *loosened, "--fail-on", what)[0] for what in ("any", "refused", "none")] == [1, 0, 0]


def test_machines_get_json(folder: Path) -> None:
    """The whole report as one object."""
    status, out, _ = run(folder, "replay", "@log.jsonl", "-p", "@changed", "-o", "json", "--samples", "1")
    report = json.loads(out)
    assert (status, report["decided"], report["otherwise"], len(report["samples"])) == (1, 8, 2, 1)
    assert report["samples"][0]["place"] == "line 5"


def test_lines_that_cannot_be_read_are_told_with_their_numbers(folder: Path) -> None:
    """They are counted, and fail where the log has to be complete."""
    log = folder / "log.jsonl"
    lines = log.read_bytes().splitlines()
    log.write_bytes(b"\n".join([*lines, b"\xff", b"hello", b"{" + b" " * 2**22, b'{"a": 1}', lines[0][:80]]))
    argv = ["replay", "@log.jsonl", "-p", "@policies"]
    status, out, err = run(folder, *argv)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "8 calls decided, 0 otherwise"
    assert "5 lines not decided" in out
    for text in (
        "no UTF-8 text: line 9 (byte 1 is 0xff)",
        "no JSON object: line 10",
        "record: line 11",
        "line 12 (no r",
        "line 13",
    ):
        assert text in out
    assert run(folder, *argv, "--complete")[0] == 1


def test_a_log_of_nothing_is_no_check(folder: Path) -> None:
    """Where not one record could be decided the verb says so and ends with 2; so for a log that is not there."""
    (folder / "empty.jsonl").write_text("")
    status, _, err = run(folder, "replay", "@empty.jsonl", "-p", "@policies")
    assert (status, err) == (2, "mcpctl: the log holds no record that could be decided again, so nothing was checked\n")
    status, _, err = run(folder, "replay", "@gone.jsonl", "-p", "@policies")
    assert status == 2
    assert "gone.jsonl is no file" in err


def test_several_logs_are_one(folder: Path) -> None:
    """Places then name the log."""
    (folder / "more.jsonl").write_text((folder / "log.jsonl").read_text())
    _, out, _ = run(folder, "replay", "@log.jsonl", "@more.jsonl", "-p", "@changed")
    assert out.startswith("16 calls decided, 4 otherwise")
    assert f"{folder}/log.jsonl:5: GET /orders/o of orders, inbound, " in out
