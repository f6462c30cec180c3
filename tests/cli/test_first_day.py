"""What somebody meets who has never typed ``mcpctl`` before: no store, no models, a narrow terminal, a pipe."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mcp_sdk.cli import main
from mcp_sdk.cli.output import Output

DENY = """\
kind: AccessPolicy
metadata: {name: loans, namespace: library}
spec:
  target: {service: library, operations: ["POST /loans"]}
  default: permit
  rules: [{name: late, when: "%s", effect: deny}]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command line in an empty folder; give its status, output and notes."""
    monkeypatch.chdir(tmp_path)

    def typed(*argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        return main(argv, out, err), out.getvalue(), err.getvalue()

    return typed


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("verb", [("apply", "loans.yaml"), ("get", "order"), ("explain", "library")])
def test_a_control_plane_that_ends_with_the_command_is_refused(run, verb):
    """Nothing is put in force, or looked for, in a store of the command's own."""
    Path("loans.yaml").write_text(DENY % "true")
    status, out, err = run(*verb)
    assert (status, out) == (3, "")
    assert "which control plane?" in err
    assert "-s sqlite:///mesh.db" in err


def test_a_path_is_no_url(run):
    """A file's name where a URL belongs is answered with a URL, not with a package to install."""
    assert "is named by a URL, e.g. sqlite:///mesh.db" in run("get", "order", "-s", "mesh.db")[2]


def test_nothing_found_says_where_it_looked(run):
    """The namespace is the usual reason."""
    Path("loans.yaml").write_text(DENY % "true")
    assert run("apply", "loans.yaml", "-s", "sqlite:///mesh.db", "-n", "library")[0] == 0
    assert (
        run("get", "policies", "-s", "sqlite:///mesh.db")[2]
        == "no policies found in namespace 'default', environment 'default'\n"
    )


def test_a_mistyped_file_is_told_and_not_made(run):
    """An empty store of that name would answer that nothing is in force."""
    status, _, err = run("get", "policies", "-s", "sqlite:///mehs.db")
    assert (status, Path("mehs.db").exists()) == (2, False)
    assert "mehs.db does not exist" in err


@pytest.mark.parametrize(
    "verb",
    [
        ("apply", "loans.yaml"),
        ("create", "traffic-policy", "--name", "loans-traffic-policy", "--route-rules", "route_to(version='v1')"),
    ],
)
def test_a_dry_run_makes_no_file(run, verb):
    """What changes nothing makes no store either: a mistyped one is told."""
    Path("loans.yaml").write_text(DENY % "true")
    status, _, err = run(*verb, "--dry-run", "-s", "sqlite:///mehs.db")
    assert (status, Path("mehs.db").exists()) == (2, False)
    assert "mehs.db does not exist" in err


@pytest.mark.parametrize("word", ["help", "requests"])
def test_an_unknown_verb_names_no_package(run, word):
    """Whoever owns a package of that name could be anybody."""
    status, _, err = run(word)
    assert status == 2
    assert "pip install" not in err
    assert "mcpctl --help" in err


@pytest.mark.parametrize("verb", [("policy", "check"), ("apply", "-s", "sqlite:///mesh.db")])
def test_policies_without_any_model_are_told_where_models_come_from(run, verb):
    """The first policy is often checked before a service has declared anything."""
    Path("loans.yaml").write_text(DENY % "member.late")
    status, _, err = run(*verb, "loans.yaml")
    assert status == 1
    assert "models.yaml beside the policies" in err
    Path("loans.yaml").write_text(DENY % "1 +")
    assert "models.yaml" not in run(*verb, "loans.yaml")[2]


def test_explain_knows_the_namespace_of_the_settings(run, monkeypatch):
    """It is the one that policies are read from."""
    Path("loans.yaml").write_text(DENY % "true")
    monkeypatch.setenv("MCP_SDK_NAMESPACE", "library")
    assert run("explain", "library", "-p", "loans.yaml", "--operation", "POST /loans")[1].startswith("deny")


def test_explain_tells_a_permit_by_nobody_from_one_by_a_policy(run):
    """A wrong service, namespace or operation is answered by what there is."""
    Path("loans.yaml").write_text(DENY % "true")
    wrong = run("explain", "librari", "-p", "loans.yaml", "-n", "library")[2]
    assert wrong == "no policy governs 'librari' in phase inbound; those of namespace 'library' govern: library\n"
    assert run("explain", "library", "-p", "loans.yaml")[2].endswith("namespace 'default' govern: nothing\n")
    out = run("explain", "library", "-p", "loans.yaml", "-n", "library")[1]
    assert "AccessPolicy loans does not govern a call without --operation" in out


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ("member.late=x", "member.late='x': write a whole number"),
        ("request.size=big", "request.size='big': write a whole number"),
        ("member.fees=1x", "member.fees='1x': the attribute is declared decimal, and this is none"),
    ],
)
def test_a_fact_of_the_wrong_type_is_shown(run, fact, said):
    """The message holds what was typed."""
    Path("models.yaml").write_text(
        "models: [{name: member, attributes: [{name: late, type: int}, {name: fees, type: decimal}]}]\n"
    )
    Path("loans.yaml").write_text(DENY % "member.late > 0")
    assert said in run("explain", "library", "-p", ".", fact)[2]


ROWS = [("o-1", "2026-11-22T13:25:46+00:00", "customer=large-bb217b-72, amount=1000.01, risk=low"), ("[b]", "", "")]


def test_a_pipe_gets_each_row_on_one_line(monkeypatch):
    """However long it is, and without blanks at its end."""
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    Output(out).table(("id", "observed_at", "attributes"), ROWS, title="orders")
    assert out.getvalue().splitlines() == [
        "orders",
        "id   observed_at                attributes",
        "o-1  2026-11-22T13:25:46+00:00  customer=large-bb217b-72, amount=1000.01, risk=low",
        "[b]",
    ]


@pytest.mark.parametrize(("width", "whole"), [("60", True), ("30", False)])
def test_a_terminal_folds_the_last_column_first(monkeypatch, width, whole):
    """Moments and ids stay whole where there is room for them."""
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", "xterm")
    out = Screen()
    Output(out).table(("id", "observed_at", "attributes"), ROWS)
    assert ("2026-11-22T13:25:46+00:00" in out.getvalue()) is whole
    assert "[b]" in out.getvalue()
