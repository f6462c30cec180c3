"""What a verb of ``mcpctl`` is, for ours and for those of other distributions.

A distribution adds a verb by an entry point in the group ``mcp_sdk.commands`` whose object is a ``Command``.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from mcp_sdk.cli.output import Output

__all__ = ["ABNORMAL", "FAILED", "OK", "USAGE", "Command"]

OK, FAILED, USAGE, ABNORMAL = 0, 1, 2, 3


@dataclass(frozen=True)
class Command:
    """One verb. ``summary`` is a line, ``description`` teaches with examples.

    ``configure`` adds arguments to the verb's parser. ``run`` gives the exit status: 0 done, 1 a check failed, 2
    wrong usage, 3 something broke.
    """

    name: str
    summary: str
    description: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Output], int]
