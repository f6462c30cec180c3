"""Exit statuses of the verbs that read policies: one rule for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

VERBS = {
    "check": ("policy", "check", "PATH"),
    "test": ("policy", "test", "PATH"),
    "diff": ("policy", "diff", "PATH", "."),
    "simulate": ("policy", "simulate", "log.jsonl", "-p", "PATH", "--against", "."),
    "replay": ("policy", "replay", "log.jsonl", "-p", "PATH"),
    "explain-index": ("policy", "explain-index", "PATH"),
    "explain": ("explain", "orders", "-p", "PATH"),
    "apply": ("apply", "PATH", "-s", "sqlite:///mesh.db"),
}
WRONG_POLICY = "kind: TrafficPolicy\nmetadata: {name: p}\nspec: {}\n"


def status_of(shell, verb: str, path: str) -> int:
    """Run a verb on a path."""
    status: int = shell(*(path if word == "PATH" else word for word in VERBS[verb]))
    return status


def folder(name: str, **files: str) -> str:
    """Make a folder of files."""
    Path(name).mkdir()
    for file, text in files.items():
        Path(name, f"{file}.yaml").write_text(text, encoding="utf-8")
    return name


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_not_there_is_wrong_usage(shell, verb: str) -> None:
    """A path that does not exist, or that holds nothing to work on, is 2."""
    assert status_of(shell, verb, "nowhere") == 2
    assert "nowhere" in shell.err
    assert status_of(shell, verb, folder("empty")) == 2
    assert "empty" in shell.err


@pytest.mark.parametrize("verb", VERBS)
def test_findings_are_1(shell, verb: str) -> None:
    """On policies and on models alike."""
    cases = {"p_test": "cases: [{name: a, service: orders, expect: permit}]"}
    assert status_of(shell, verb, folder("policies", p=WRONG_POLICY, **cases)) == 1
    assert "policies/p.yaml:3:" in shell.out + shell.err
    sound = Path("orders.yaml").read_text(encoding="utf-8")
    assert status_of(shell, verb, folder("declared", p=sound, models="models: 5", **cases)) == 1
    assert "declared/models.yaml:1:9: error MCP0003" in shell.out + shell.err


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (("policy", "check", "."), 0),
        (("policy", "test", "."), 0),
        (("policy", "diff", ".", "."), 0),
        (("policy", "explain-index", "."), 0),
        (("policy", "test", ".", "--fail-under", "100"), 1),
        (("policy", "diff", ".", "changed"), 1),
        (("policy", "test", "changed"), 1),
        (("policy", "check", "--fail-on", "nonsense", "."), 2),
        (("policy", "check"), 2),
        (("policy", "chek", "."), 2),
        (("policy", "test", ".", "--run", "no such case"), 2),
        (("policy", "replay", "gone.jsonl", "-p", "."), 2),
        (("policy", "replay", "empty.jsonl", "-p", "."), 2),
        (("policy", "simulate", "gone.jsonl", "-p", ".", "--against", "."), 2),
        (("explain", "orders", "nonsense", "-p", "."), 2),
        (("policy", "diff", "7", ".", "-s", "sqlite:///mesh.db"), 3),
        (("policy", "explain-index", "-s", "nostore://x"), 3),
        (("policy", "test", ".", "--junit", "nowhere/report.xml"), 3),
    ],
)
def test_each_status_says_one_thing(shell, argv: tuple[str, ...], status: int) -> None:
    """0 fine, 1 findings, failed cases or differences, 2 wrong usage, 3 could not be done."""
    shell.write("empty.jsonl", "")
    shell.write("mesh.db", "")
    if "changed" in argv:
        text = Path("orders.yaml").read_text(encoding="utf-8").replace("> 1000", "> 2000")
        folder("changed", p=text, models=Path("models.yaml").read_text(encoding="utf-8"))
        Path("changed", "p_test.yaml").write_text(Path("orders_test.yaml").read_text(encoding="utf-8"))
    assert shell(*argv) == status


def test_a_file_that_cannot_be_read_is_3(shell) -> None:
    """It is there, and nothing can be said of it."""
    Path("bad").mkdir()
    Path("bad", "p.yaml").symlink_to("/proc/self/mem")
    assert shell("policy", "check", "bad") == 3
    assert "bad/p.yaml cannot be read" in shell.err


def test_an_unknown_service_is_said_before_the_verdict(shell) -> None:
    """Nothing that stands after it can be taken for the word of a policy."""
    assert shell("explain", "ordrs", "-p", ".") == 0
    assert shell.err.startswith("no policy governs 'ordrs'")
    assert "govern: orders" in shell.err
