"""``mcpctl policy diff`` from its command line."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest

from mcp_sdk.cli import main

MODELS = """\
models:
- name: order
  states: [created, paid]
  attributes: [{name: amount, type: decimal}, {name: tags, type: list}]
"""
POLICY = """\
kind: AccessPolicy
metadata: {name: orders}
spec:
  target: {service: order-service, operations: ["POST /orders"]}
  default: permit
  rules:
  - {name: large, when: has(order.amount) && order.amount > 1000, effect: deny}
"""
OPERATION = ("--operation", "POST /orders")
STORE = "sqlite:///mesh.db"


def written(folder: str, text: str) -> None:
    Path(folder).mkdir()
    Path(folder, "orders.yaml").write_text(text)
    Path(folder, "models.yaml").write_text(MODELS)


@pytest.fixture
def sets(run) -> None:
    """Two folders of policies, in the folder where commands run, that differ by a threshold."""
    written("old", POLICY)
    written("new", POLICY.replace("1000", "2000"))


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_change_is_shown_with_a_call_to_paste(run, sets) -> None:
    """Before and after, each with its rule and place, and the command that explains it."""
    status, out, err = run("policy", "diff", "old", "new")
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        "order-service: verdict, 3 calls of those tried",
        "- deny: rule 'large' of 'orders' because has(order.amount) && order.amount > 1000  old/orders.yaml:7:5",
        "+ permit: the default of 'orders'  new/orders.yaml:1",
        "  mcpctl explain order-service --operation 'POST /orders' order.amount=1000.01 -p new",
        "",
        "1 difference in 14 calls tried; every kind of call was, nothing else differs",
    ]


def test_the_call_is_decided_as_was_said(run, sets) -> None:
    """``mcpctl explain`` with the facts of the witness says of each side what the difference said."""
    (change,) = json.loads(run("policy", "diff", "old", "new", "-o", "json")[1])["changes"]
    words = shlex.split(change["witness"]["explain"])
    said = [json.loads(run("explain", *words, "-p", folder, "-o", "json")[1])["decision"] for folder in ("old", "new")]
    assert said == [change["before"]["effect"], change["after"]["effect"]] == ["deny", "permit"]


def test_equal_sets_end_with_status_0(run, sets) -> None:
    """Other names and another way to write a condition are no difference, and that is certain."""
    written("same", POLICY.replace("large", "huge").replace("order.amount > 1000", "!(order.amount <= 1000.00)"))
    assert run("policy", "diff", "old", "same") == (0, "no difference: the policies are equal\n", "")
    found = json.loads(run("policy", "diff", "old", "same", "-o", "json")[1])
    assert (found["same"], found["certain"], found["tried"]) == (True, True, 0)


def test_revisions_of_a_store_are_compared(run, sets) -> None:
    """By number, by the word current, by the store's URL, and with files."""
    for folder in ("old", "new"):
        assert run("apply", folder, "-s", STORE)[0] == 0
    for names in (("1", "2"), ("1", "current"), ("1", "new"), (f"{STORE}@1", f"{STORE}@2")):
        status, out, _ = run("policy", "diff", *names, "-s", STORE)
        assert (status, out.count("\n- "), "\n+ permit: the default of 'orders'" in out) == (1, 1, True)
    assert run("policy", "diff", "current", "new", "-s", STORE)[0] == 0
    status, out, err = run("policy", "diff", "1", "7", "-s", STORE)
    assert (status, out) == (3, "")
    assert err == "mcpctl: namespace 'default', environment 'default' holds no revision 7; revision 2 is in force\n"


def test_what_cannot_be_compared_is_said(run, sets) -> None:
    """A path that is not there, a number without a store, a set that does not compile, a budget of nothing."""
    assert run("policy", "diff", "old", "nowhere")[::2] == (2, "mcpctl: nowhere does not exist\n")
    assert "which control plane?" in run("policy", "diff", "1", "2")[2]
    written("bad", POLICY.replace("order.amount >", "order.amuont >"))
    status, _, err = run("policy", "diff", "old", "bad")
    assert (status, "Did you mean 'amount'?" in err) == (1, True)
    assert run("policy", "diff", "old", "new", "--budget", "0")[0] == 2


def test_a_budget_that_is_too_small_makes_no_claim(run, sets) -> None:
    """What was not tried may differ, and is said to."""
    text = POLICY.replace("order.amount > 1000", "size(order.tags) + 0 > 2")
    written("one", text)
    written("other", text.replace("+ 0 > 2", "> 2"))
    status, out, _ = run("policy", "diff", "one", "other")
    assert status == 0
    assert out.startswith("no difference found in ")
    assert not json.loads(run("policy", "diff", "one", "other", "-o", "json")[1])["certain"]


def test_lines_are_coloured_on_a_terminal_only(run, sets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red for before, green for after."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen()
    assert main(("policy", "diff", "old", "new"), screen, io.StringIO()) == 1
    assert "\x1b[31m- deny" in screen.getvalue()
    assert "\x1b[32m+ permit" in screen.getvalue()
    assert "\x1b" not in run("policy", "diff", "old", "new")[1]


def test_help_teaches_by_examples(run) -> None:
    """As every verb does."""
    assert "mcpctl policy diff 3 4 -s sqlite:///mesh.db" in run("policy", "diff", "--help")[1]
