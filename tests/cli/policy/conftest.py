"""A folder with policies, models and cases, and a shell in it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mcp_sdk.cli import main

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
