"""Runs ``mcpctl`` in a folder of a test's own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_sdk.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in an empty folder; give its status, output and notes."""
    monkeypatch.chdir(tmp_path)

    def typed(*argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        return main(argv, out, err), out.getvalue(), err.getvalue()

    return typed


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A folder with a policy of two warnings and a note, and a model with a state that nothing leads to."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "models.yaml").write_text(
        "models:\n- name: order\n  states: [created, paid, lost]\n  transitions: {created: [paid]}\n"
        "  attributes: [{name: amount, type: decimal}]\n"
    )
    (folder / "orders.yaml").write_text(
        "kind: AccessPolicy\nmetadata: {name: orders}\nspec:\n  target: {service: s}\n  default: deny\n  rules:\n"
        "  - {name: large, when: order.amount > 1000, effect: permit}\n"
        "  - {name: huge, when: order.amount > 5000, effect: permit}\n"
        "  - {name: double, when: order.amount * 2 > 10, effect: permit}\n"
    )
    return folder
