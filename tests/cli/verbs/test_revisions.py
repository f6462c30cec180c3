"""The policy set and its revisions: apply, create, delete, diff, history, rollback."""

from __future__ import annotations

import re
import shlex

import pytest
from verbs import ACCESS, TRAFFIC, Typist

from mcp_sdk import BusinessModel
from mcp_sdk.cli.documents import documents, without

ROUTE = "when(state='order_created') then route_to(version='v2') else route_to(version='v1')"
SPOKEN = "when(state='order_created') then route_to(version='v3') else"
"""Before ``ROUTE``, it takes every call of the rule there."""


def test_history_tells_who_changed_what(seeded: Typist) -> None:
    """Newest first: policies that came, went and were written anew."""
    assert seeded("apply", seeded.write(a=ACCESS.replace("1000", "2000"))) == 0
    newest, oldest = seeded.json("history")
    assert (newest["revision"], newest["changes"]) == (2, ["~orders", "-versions"])
    assert (oldest["revision"], oldest["changes"]) == (1, ["+orders", "+versions"])
    assert newest["author"]
    assert newest["created_at"]
    assert seeded.json("history", "--limit", "1") == [newest]


def test_a_traffic_policy_is_created_beside_the_others(seeded: Typist) -> None:
    """As the first example of all says it."""
    argv = ("create", "traffic-policy", "--name", "order-traffic-policy", "--route-rules", ROUTE)
    assert seeded(*argv) == 0, seeded.err
    assert {row["name"] for row in seeded.json("get", "policies")} == {"order-traffic-policy", "orders", "versions"}


def test_who_published_meanwhile_is_told(seeded: Typist) -> None:
    """Files that were made from another revision change nothing; the way on is said."""
    folder = seeded.write(a=ACCESS)
    assert seeded("apply", folder, "--replaces", "1") == 0
    assert seeded("apply", folder, "--replaces", "1") == 3
    said, history = seeded.err, seeded.json("history")
    assert f"since then came revision 2 by {history[0]['author']} at " in said
    assert "--replaces 2" in said
    assert len(history) == 2


def test_what_is_printed_after_a_conflict_asks_the_same_place(seeded: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of it the settings of whoever types it do not say already."""
    assert seeded("apply", seeded.write(a=ACCESS)) == 0
    for name in ("MCP_SDK_CONTROL_PLANE", "MCP_SDK_ENVIRONMENT"):
        monkeypatch.delenv(name)
    environment = () if seeded.environment == "default" else ("-e", seeded.environment)
    assert seeded("apply", seeded.write(a=ACCESS), "--replaces", "1", "-s", seeded.url, *environment) == 3
    (command,) = re.findall(r"See what changed with: mcpctl (.*)\. Take it", seeded.err)
    assert shlex.split(command) == ["diff", "--from", "1", "-s", seeded.url, *environment]
    assert seeded(*shlex.split(command)) == 1
    assert "versions" in seeded.out


def test_the_first_files_are_all_new(typist: Typist) -> None:
    """Where nothing was ever applied everything differs, which is no error."""
    typist.seed()
    assert typist("diff", typist.write(a=ACCESS)) == 1, typist.err
    assert "AccessPolicy 'orders' is new" in typist.out
    assert typist("diff", "--from", "3") == 3
    assert "holds no revision 3; no policies are in force" in typist.err


def test_findings_are_data_for_machines(seeded: Typist) -> None:
    """As ``policy check`` gives them, of every verb that puts policies in force or compares them."""
    folder = seeded.write(a=ACCESS.replace("order.amount", "order.amuont"))
    for argv in (("apply", folder), ("apply", folder, "--dry-run"), ("diff", folder)):
        (found,) = seeded.json(*argv, status=1)["findings"]
        assert (found["code"], found["line"], seeded.err) == ("MCP0021", 8, "")


def test_a_dry_run_changes_nothing(seeded: Typist) -> None:
    """It is compiled, and that is all."""
    assert seeded("apply", seeded.write(a=ACCESS), "--dry-run") == 0
    assert seeded("rollback", "1", "--dry-run") == 0
    assert seeded("delete", "policy", "orders", "--dry-run") == 0
    assert len(seeded.json("history")) == 1


def test_warnings_are_shown_and_stop_nothing(seeded: Typist) -> None:
    """As ``policy check`` shows them, in a dry run too; against the models of the scope, for no file declares one."""
    folder = seeded.write(a=ACCESS)
    for argv, done in ((("--dry-run",), "would replace revision 1"), ((), "in force as revision 2")):
        assert seeded("apply", folder, *argv) == 0
        warning, line, mark = seeded.err.splitlines()
        assert warning.startswith(f"{folder}/a.yaml:8:25: warning MCP0101: rule 'large' refuses")
        assert (line, mark) == (f"     8 | {ACCESS.splitlines()[7]}", "       | " + " " * 24 + "^")
        assert seeded.out == f"1 file checked; {done}\n"


def test_warnings_are_in_the_answer_for_machines(seeded: Typist) -> None:
    """Each with its code and place, and nothing beside it; a set without any has an empty list."""
    (found,) = seeded.json("apply", seeded.write(a=ACCESS))["findings"]
    assert (found["code"], found["severity"], found["line"], found["column"]) == ("MCP0101", "warning", 8, 25)
    assert seeded.err == ""
    guarded = ACCESS.replace("when: order.amount >= 1000", "when: has(order.amount) && order.amount >= 1000")
    assert seeded.json("apply", seeded.write(a=guarded), "--dry-run")["findings"] == []


def test_a_created_policy_comes_with_its_warnings(seeded: Typist) -> None:
    """And with those of no other policy; a dry run prints the text that they stand in."""
    argv = ("create", "traffic-policy", "--name", "order-traffic-policy", "--route-rules", f"{SPOKEN} {ROUTE}")
    for more in (("--dry-run",), ()):
        assert seeded(*argv, *more) == 0, seeded.err
        warning, line, mark = seeded.err.splitlines()
        assert warning.startswith("order-traffic-policy.yaml:6:78: warning MCP0102: rule 'rule-2' can never speak")
        assert line.startswith("     6 | ")
        assert mark.endswith("^")
        assert "warning" not in seeded.out
    (found,) = seeded.json(*argv)["findings"]
    assert (found["code"], found["file"], seeded.err) == ("MCP0102", "order-traffic-policy.yaml", "")


def test_what_is_wrong_hides_the_warnings(seeded: Typist) -> None:
    """A set that does not check is refused by its errors alone."""
    assert seeded("apply", seeded.write(a=ACCESS, b=TRAFFIC.replace("created", "stolen"))) == 1
    assert "MCP0023" in seeded.err
    assert "MCP0101" not in seeded.err


def test_rollback_brings_the_files_before_back(seeded: Typist) -> None:
    """As a new revision; the one before unless one is said."""
    seeded("apply", seeded.write(a=ACCESS))
    assert seeded("rollback") == 0, seeded.err
    assert seeded.out == "revision 1 in force again as revision 3: +versions\n"
    assert {row["name"] for row in seeded.json("get", "policies")} == {"orders", "versions"}
    assert seeded("rollback", "2") == 0
    assert {row["name"] for row in seeded.json("get", "policies")} == {"orders"}


def test_a_rollback_comes_with_warnings_too(seeded: Typist) -> None:
    """On the files that come back, whoever was warned of them before."""
    for argv in (("1", "--dry-run"), ("1",)):
        assert seeded("rollback", *argv) == 0
        assert re.match(r"\S+/orders\.yaml:8:25: warning MCP0101: rule 'large' refuses", seeded.err)
        assert len(seeded.err.splitlines()) == 3
        assert "warning" not in seeded.out
    (found,) = seeded.json("rollback", "1")["findings"]
    assert (found["code"], found["line"], seeded.err) == ("MCP0101", 8, "")


def test_a_revision_that_never_was_is_no_rollback(seeded: Typist) -> None:
    """The first one has none before it."""
    assert seeded("rollback") == 3
    assert "there is no revision 0; 1 is in force" in seeded.err
    assert seeded("rollback", "9") == 3


def test_a_revision_that_no_longer_checks_is_refused_whole(typist: Typist) -> None:
    """The models of today decide: an attribute that is gone is a finding, and nothing changes."""
    typist.seed()
    typist("apply", typist.write(orders=ACCESS))
    typist("apply", typist.write(versions=TRAFFIC))
    typist.replace(BusinessModel("order", key="number", states=("created", "paid")))
    assert typist("rollback") in (1, 3)
    assert "amount" in typist.err
    assert typist.json("history")[0]["revision"] == 2


def test_a_policy_is_deleted_and_its_neighbour_in_the_file_stays(seeded: Typist) -> None:
    """As a new revision."""
    assert seeded("delete", "policy", "orders") == 0, seeded.err
    assert seeded.out == "AccessPolicy orders is deleted as of revision 2\n"
    assert [row["name"] for row in seeded.json("get", "policies")] == ["versions"]
    assert seeded("delete", "policy", "version") == 2
    assert "Did you mean 'versions'?" in seeded.err


def test_diff_tells_what_applying_would_change(seeded: Typist) -> None:
    """By effect, with the call that shows it; equal files differ in nothing."""
    assert seeded("diff", seeded.write(orders=ACCESS + TRAFFIC)) == 0, seeded.out + seeded.err
    assert seeded("diff", seeded.write(orders=ACCESS.replace("1000", "2000") + TRAFFIC)) == 1
    assert "order.amount" in seeded.out
    assert seeded("diff") == 2


def test_diff_compares_revisions(seeded: Typist) -> None:
    """With the one in force, unless another is said."""
    seeded("apply", seeded.write(orders=ACCESS))
    seeded("rollback")
    assert seeded("diff", "--from", "1") == 0, seeded.out + seeded.err
    assert seeded("diff", "--from", "1", "--to", "2") == 1


@pytest.mark.parametrize("text", ["--- # a comment\n", "---\n", ""])
def test_sources_are_taken_apart_at_their_marks(text: str) -> None:
    """A file that holds no policy any more goes with the last one; what holds none is left alone."""
    sources = {"a.yaml": f"{text}{ACCESS}{TRAFFIC}", "b.yaml": "# nothing\n"}
    assert [each.name for each in documents(sources)] == ["orders", "versions"]
    left = without(sources, "orders")
    assert [each.name for each in documents(left)] == ["versions"]
    assert without(left, "versions", "AccessPolicy") == left
    assert without(left, "versions") == {"b.yaml": "# nothing\n"}


def test_policies_govern_the_namespace_that_they_are_applied_in(
    typist: Typist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that names no namespace is of the one that is applied to; a rollback keeps it there."""
    monkeypatch.setenv("MCP_SDK_NAMESPACE", "tutorial")
    folder = typist.write(a=ACCESS, models="models: [{name: order, attributes: [{name: amount, type: decimal}]}]")
    asked = ("explain", "shop", "order.amount=2000", "--operation", "POST /orders")
    for line in (("apply", folder), ("apply", folder), ("rollback",)):
        assert typist(*line) == 0, typist.err
        assert typist(*asked) == 0, typist.err
        assert typist.out.startswith("deny"), typist.out
    assert typist(*asked, "-p", folder) == 0, typist.err
    assert typist.out.startswith("deny"), typist.out
    assert typist("diff", folder) == 0, typist.out


def test_policies_of_another_namespace_are_refused(typist: Typist) -> None:
    """In force there they would govern nothing, and whoever applied them would think that they do."""
    folder = typist.write(
        a=ACCESS.replace("name: orders", "name: orders, namespace: tutorial"),
        models="models: [{name: order, attributes: [{name: amount, type: decimal}]}]",
    )
    assert typist("apply", folder) == 1
    assert "AccessPolicy 'orders' is of namespace 'tutorial', and would govern nothing in 'default'" in typist.err
    assert "a.yaml:1:1: error MCP0012" in typist.err
    assert typist.json("history") == []
