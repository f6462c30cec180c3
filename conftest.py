"""Runs the code blocks of the README and of the pages under docs: Python is executed, policies are compiled."""

from __future__ import annotations

import gc
import signal
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.markdown import ClearNamespaceParser, CodeBlockParser, PythonCodeBlockParser, SkipParser

from mcp_sdk import BusinessModel
from mcp_sdk.policy import compile_policies

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what it runs in the background; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

MODELS = [
    BusinessModel("order", key="number", states=("new", "created", "paid", "failed"), attributes={"amount": "decimal"}),
    BusinessModel("user", principal=True, attributes={"tier": "string"}),
    BusinessModel("transfer", attributes={"amount": "decimal", "risk": "string"}),
    BusinessModel("promotion", states=("planned", "active", "over")),
]


def compile_block(example: Example) -> None:
    """Compile a YAML block that holds policies; a finding fails it."""
    if "kind:" in example.parsed:
        compile_policies(
            {f"{example.path}:{example.line}": str(example.parsed)}, {model.name: model for model in MODELS}
        )


def forget(namespace: dict[str, Any]) -> None:
    """Let go of what a page defined: a mesh that starts checks every decorator of the process."""
    namespace.clear()
    gc.collect()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("yaml", compile_block), SkipParser(), ClearNamespaceParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    teardown=forget,
).pytest()
