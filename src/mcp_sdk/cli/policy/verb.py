"""What a verb of ``mcpctl policy`` is."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from mcp_sdk.cli.output import Output

__all__ = ["Verb", "add_output", "add_paths", "counted"]


@dataclass(frozen=True)
class Verb:
    """One verb: ``summary`` is a line, ``examples`` the lines that teach it; ``run`` gives the exit status."""

    name: str
    summary: str
    examples: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Output], int]


def add_paths(parser: ArgumentParser) -> None:
    """Add the policy files that a verb works on."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="policy files, or folders of *.yaml; models.yaml declares the models"
    )


def add_output(parser: ArgumentParser, *more: str) -> None:
    """Add ``--output``; ``more`` are formats of the verb's own."""
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "yaml", *more), default="table", help="how to print"
    )


def counted(number: int, noun: str) -> str:
    """Write a number of things: ``1 rule``, ``2 rules``."""
    return f"{number} {noun}{'s' * (number != 1)}"
