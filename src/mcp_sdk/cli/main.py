"""The main flow of ``mcpctl``: find the verbs, parse, run, turn errors into a line and an exit status."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

from mcp_sdk.cli.command import ABNORMAL, FAILED, USAGE, Command, WrongUsage
from mcp_sdk.cli.output import Output
from mcp_sdk.exceptions import MeshError, ModelError, PolicyError, did_you_mean

__all__ = ["main", "parser_of_all", "run"]

GROUP = "mcp_sdk.commands"
OURS = {"demo": "mcp-sdk-demo"}
"""Verbs of other packages of this project. Of no other is a name told: anybody could own it."""
INTERRUPTED, PIPE_CLOSED = 130, 141
"""As a shell tells of SIGINT and SIGPIPE."""

DESCRIPTION = """\
The service mesh that knows the business.

  mcpctl demo shop                watch a shop route, refuse and throttle
  mcpctl policy check policies/   check policy files, with file:line:column
  mcpctl apply policies/ -s sqlite:///mesh.db
                                  put policies in force
  mcpctl get order -s sqlite:///mesh.db
                                  what the mesh knows of the orders
"""


class _Exit(Exception):
    def __init__(self, status: int, message: str = "") -> None:
        self.status, self.message = status, message


class _Parser(ArgumentParser):
    """A parser that writes to the streams it was given, and suggests the nearest verb."""

    output: Output

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Let options stand between a verb's other arguments."""
        if self._mixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        raise _Exit(USAGE, f"{self.prog}: {message}\nTry: {self.prog} --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise _Exit(status, message or "")

    def _print_message(self, message: str, file: Any = None) -> None:
        stream = self.output.err if file is sys.stderr else self.output.out
        stream.write(message)


def commands(argv: Sequence[str], output: Output) -> dict[str, Command]:
    """Give the installed verbs by name: the one that ``argv`` begins with, or all of them.

    Raises ``_Exit`` for a verb that nobody installed. One that cannot be loaded does not keep the others from working.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    wanted = argv[0] if argv and not argv[0].startswith("-") else None
    if wanted is not None and wanted not in found:
        nearest = did_you_mean(wanted, found)
        product = f" It comes with {OURS[wanted]}: pip install {OURS[wanted]}" if wanted in OURS else ""
        raise _Exit(USAGE, f"mcpctl: unknown verb {wanted!r}.{nearest}{product}\nTry: mcpctl --help")
    loaded = {name: _load(found[name], output) for name in ([wanted] if wanted else sorted(found))}
    return {name: verb for name, verb in loaded.items() if verb is not None}


def _load(entry: EntryPoint, output: Output) -> Command | None:
    try:
        verb: Command = entry.load()
    except ImportError as error:
        output.say(f"mcpctl: the verb {entry.name!r} cannot be loaded: {error}")
        return None
    return verb


def parser_of_all(output: Output) -> ArgumentParser:
    """Give the parser of every installed verb, from which completions are made."""
    return _parser(commands([], output).values(), output)


def _parser(verbs: Iterable[Command], output: Output) -> _Parser:
    kind = type("Parser", (_Parser,), {"output": output})
    parser: _Parser = kind("mcpctl", description=DESCRIPTION, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"mcpctl {version('mcp-sdk')}")
    subparsers: _SubParsersAction[Any] = parser.add_subparsers(
        title="verbs", metavar="VERB", dest="verb", parser_class=kind
    )
    for verb in verbs:
        _add(subparsers, verb)
    return parser


def _add(subparsers: _SubParsersAction[Any], verb: Command) -> None:
    parser = subparsers.add_parser(
        verb.name, help=verb.summary, description=verb.description, formatter_class=RawDescriptionHelpFormatter
    )
    verb.configure(parser)
    if all("--output" not in action.option_strings for action in parser._actions):  # noqa: SLF001 - argparse has no other way
        parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="how to print")
    parser.set_defaults(command=verb)


def main(argv: Sequence[str], out: TextIO, err: TextIO) -> int:
    """Run one command line (without the program's name) and give its exit status."""
    output = Output(out, err)
    try:
        parser = _parser(commands(argv, output).values(), output)
        args = parser.parse_args(argv)
        if args.verb is None:
            parser.print_help()
            return USAGE
        output.format = args.output
        return int(args.command.run(args, output))
    except _Exit as stop:
        (err if stop.status else out).write(f"{stop.message}\n" if stop.message else "")
        return stop.status
    except MeshError as error:
        _tell(error, output)
        return _status(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return _cannot(error, err)


def _tell(error: MeshError, output: Output) -> None:
    """Say what went wrong; a machine gets what is wrong in policies as ``policy check`` gives it."""
    if isinstance(error, PolicyError) and output.for_machines:
        from mcp_sdk.cli.policy.report import plain_finding  # noqa: PLC0415 - the load of all its verbs is for this alone

        output.data({"findings": list(map(plain_finding, error.findings))})
    else:
        output.err.write(f"mcpctl: {error}\n")


def _status(error: MeshError) -> int:
    if isinstance(error, PolicyError):
        return FAILED
    return USAGE if isinstance(error, WrongUsage | ModelError) else ABNORMAL


def _cannot(error: OSError, err: TextIO) -> int:
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    late = isinstance(error, TimeoutError) and not str(error)
    err.write(f"mcpctl: {'the control plane did not answer in time' if late else error}\n")
    return ABNORMAL


def run() -> NoReturn:
    """The console script. What the terminal cannot show is written with backslashes."""
    out, err = (_writable(stream) for stream in (sys.stdout, sys.stderr))
    status = main(sys.argv[1:], out, err)
    try:
        out.flush()
    except OSError as error:
        status = status or _cannot(error, err)
    if status in (PIPE_CLOSED, ABNORMAL):  # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    sys.exit(status)


def _writable(stream: TextIO | None) -> TextIO:
    """Give a standard stream that writes any text; one that is closed swallows it."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - until the process ends
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
