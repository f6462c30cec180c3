"""What a verb of ``mcpctl`` is, for ours and for those of other distributions.

A distribution adds a verb by an entry point in the group ``mcp_sdk.commands`` whose object is a ``Command``.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from mcp_sdk.cli.output import Output
from mcp_sdk.exceptions import ConfigurationError

__all__ = ["ABNORMAL", "FAILED", "OK", "USAGE", "Command", "WrongUsage"]

OK, FAILED, USAGE, ABNORMAL = 0, 1, 2, 3
"""Fine; findings, cases that fail or differences; wrong usage; could not be done."""


class WrongUsage(ConfigurationError):
    """What the command line names is not there, or holds nothing to work on: exit status 2."""


@dataclass(frozen=True)
class Command:
    """One verb. ``summary`` is a line, ``description`` teaches with examples.

    ``configure`` adds arguments to the verb's parser. ``run`` gives the exit status; a ``PolicyError`` that it raises
    is 1, ``WrongUsage`` and ``ModelError`` 2, any other ``MeshError`` or ``OSError`` 3.
    """

    name: str
    summary: str
    description: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Output], int]
