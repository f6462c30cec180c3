"""What ``mcpctl`` takes as the name of a namespace or an environment, of options and of settings."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mcp_sdk.cli import main

POLICY = "kind: AccessPolicy\nmetadata: {name: p}\nspec: {target: {service: s}, default: permit}\n"
VERBS = {
    "apply": ("apply", "pol", "--dry-run", "-s", "sqlite:///mesh.db"),
    "diff": ("diff", "pol", "-s", "sqlite:///mesh.db"),
    "policy diff": ("policy", "diff", "pol", "pol"),
    "explain": ("explain", "s", "-p", "pol"),
    "get": ("get", "models", "-s", "sqlite:///mesh.db"),
    "changes": ("changes", "-s", "http://127.0.0.1:9"),
    "break-glass": ("break-glass", "--offline", "--service", "s", "--reason", "r", "--key", "k", "--file", "f"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one policy that names no namespace."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pol").mkdir()
    (tmp_path / "pol" / "p.yaml").write_text(POLICY, encoding="utf-8")
    return tmp_path


def mcpctl(*argv: str) -> tuple[int, str]:
    """Run a command line; give its exit status and what it said of errors."""
    out, err = io.StringIO(), io.StringIO()
    return main(argv, out, err), err.getvalue()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["a b", "*", "-x", " a", "a" * 201, "größe"])
def test_an_option_that_is_no_namespace_is_wrong_usage(verb: str, name: str, folder: Path) -> None:
    """The value and what fits are said before anything is looked at or made."""
    status, said = mcpctl(*VERBS[verb], f"--namespace={name}")
    assert status == 2
    assert "argument -n/--namespace: " in said
    assert name[:40] in said
    assert "is no namespace; a name is letters, digits and . _ - / inside, at most 200" in said
    assert not (folder / "mesh.db").exists()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["*", "a\nb", " a", "a" * 201])
def test_an_option_that_is_no_environment_is_wrong_usage(verb: str, name: str) -> None:
    """What no server takes, and the star, which is all of them."""
    status, said = mcpctl(*VERBS[verb], f"--environment={name}")
    assert status == 2
    assert "argument -e/--environment: " in said
    assert "is no environment; give one line of at most 200 characters, and not * alone" in said


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", ["-n", "-e"])
def test_an_empty_option_is_that_of_a_variable_that_is_not_set(verb: str, option: str) -> None:
    """It is not taken for the default, nor for a name."""
    status, said = mcpctl(*VERBS[verb], option, "")
    assert status == 2
    assert f"argument {option}/--" in said
    assert "it is empty, as of a variable that is not set. Give a value, or leave the option out" in said


@pytest.mark.parametrize("verb", VERBS)
def test_a_setting_that_is_no_namespace_is_wrong_usage(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable, its value and what fits; an option stands in its place."""
    monkeypatch.setenv("MCP_SDK_NAMESPACE", "a b")
    status, said = mcpctl(*VERBS[verb])
    assert status == 2
    assert said == (
        "mcpctl: MCP_SDK_NAMESPACE='a b', or namespace under [tool.mcp_sdk], is no namespace; "
        "a name is letters, digits and . _ - / inside, at most 200\n"
    )
    assert "MCP_SDK_NAMESPACE" not in mcpctl(*VERBS[verb], "-n", "shop")[1]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["namespace", "environment"])
def test_an_empty_setting_is_wrong_usage(verb: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another variable that it was made of is not set."""
    monkeypatch.setenv(f"MCP_SDK_{name.upper()}", "")
    status, said = mcpctl(*VERBS[verb])
    assert status == 2
    assert said == (
        f"mcpctl: MCP_SDK_{name.upper()}, or {name} under [tool.mcp_sdk], is empty, as of a variable that is not set. "
        "Give a value, or leave it unset\n"
    )


def test_a_namespace_of_the_table_is_looked_at(folder: Path) -> None:
    """Where the environment says nothing."""
    (folder / "pyproject.toml").write_text('[tool.mcp_sdk]\nnamespace = "a b"\n', encoding="utf-8")
    status, said = mcpctl(*VERBS["explain"])
    assert status == 2
    assert "namespace under [tool.mcp_sdk], is no namespace" in said


@pytest.mark.parametrize(
    ("namespace", "environment"), [("shop", "prod"), ("team/shop.eu_1", "prod eu"), ("7", "größe")]
)
def test_names_are_taken_as_they_stand(namespace: str, environment: str) -> None:
    """Namespaces as policies name them, and environments of any text of a line."""
    assert mcpctl(*VERBS["explain"], "-n", namespace, "-e", environment)[0] == 0


@pytest.mark.parametrize("option", ["--namespace", "--environment"])
def test_a_grant_is_of_something(option: str) -> None:
    """An empty option does not become a token that reaches nothing."""
    status, said = mcpctl("token", "create", "--role", "viewer", option, "", "-s", "http://127.0.0.1:9")
    assert status == 2
    assert "it is empty, as of a variable that is not set" in said
