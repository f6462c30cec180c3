"""Runs ``mcpctl`` in folders of a test's own."""

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


MODELS = "models:\n- {name: order, states: [created, paid], attributes: [{name: amount, type: decimal}]}\n"
POLICY = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  target: {service: orders}
  rules:
  - {name: large, when: has(order.amount) && order.amount > 1000, route: {version: v2}}
  default: {version: v1}
"""
CASES = """\
cases:
- name: a large order
  service: orders
  contexts: {order: {amount: 1500.00}}
  expect: {route: {version: v2}}
- name: a small order
  service: orders
  contexts: {order: {amount: 15.00}}
  expect: {route: {version: v1}}
"""


class Shell:
    """Runs command lines in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = self.err = ""

    def __call__(self, *argv: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        status = main(argv, out, err)
        self.out, self.err = out.getvalue(), err.getvalue()
        return status

    def write(self, name: str, text: str) -> str:
        """Write a file of the folder and give its path."""
        (self.folder / name).write_text(text, encoding="utf-8")
        return str(self.folder / name)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in a folder of policies and cases that hold."""
    monkeypatch.chdir(tmp_path)
    shell = Shell(tmp_path)
    for name, text in (("models.yaml", MODELS), ("orders.yaml", POLICY), ("orders_test.yaml", CASES)):
        shell.write(name, text)
    return shell
