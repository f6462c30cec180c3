"""``mcpctl policy diff``: what two policy sets decide differently."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mcp_sdk.cli.command import FAILED, OK
from mcp_sdk.cli.following import following
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store
from mcp_sdk.cli.policy.verb import Verb, add_output, counted

if TYPE_CHECKING:
    from mcp_sdk.policy.diff.difference import Change, Difference

__all__ = ["VERB"]

BUDGET, SHOWN = 20_000, 50
STYLES = {"-": "red", "+": "green"}


def _configure(parser: ArgumentParser) -> None:
    what = "policy files or a folder, or a revision of the store: 3, current, sqlite:///mesh.db@3"
    parser.add_argument("old", metavar="OLD", help=what)
    parser.add_argument("new", metavar="NEW", help="the same")
    parser.add_argument(
        "--budget",
        type=_positive,
        default=BUDGET,
        metavar="N",
        help=f"calls that are tried for each kind of policy of a service, at most (default: {BUDGET})",
    )
    parser.add_argument(
        "--show", type=_positive, default=SHOWN, metavar="N", help=f"changes that the table shows (default: {SHOWN})"
    )
    add_store(parser)
    add_output(parser)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _run(args: Namespace, output: Output) -> int:
    from mcp_sdk.cli.policy.sides import read_sides  # noqa: PLC0415 - the engine's load is for this verb alone
    from mcp_sdk.policy.diff.difference import difference  # noqa: PLC0415 - as above

    old, new = read_sides(args, (args.old, args.new))
    now = datetime.now(UTC).replace(microsecond=0)
    found = difference(old, new, now=now, budget=args.budget)
    if output.for_machines:
        output.data({"old": args.old, "new": args.new, **found.to_dict()})
    else:
        _print(found, args, output)
    return OK if found.same else FAILED


def _print(found: Difference, args: Namespace, output: Output) -> None:
    for change in found.changes[: args.show]:
        for line in _lines(change, args):
            _coloured(line, output)
        output.line()
    if len(found.changes) > args.show:
        output.line(f"and {counted(len(found.changes) - args.show, 'change')} more: --show N, or -o json\n")
    for note in found.notes:
        output.line(f"{'!' if note.matters else ' '} {note.text}")
    if found.notes:
        output.line()
    output.line(_verdict(found))


def _coloured(line: str, output: Output) -> None:
    style = STYLES.get(line[0])
    if style and output.console.is_terminal:
        output.console.print(line, style=style, markup=False)
    else:
        output.line(line)


def _lines(change: Change, args: Namespace) -> Iterator[str]:
    call = change.witness
    where = call.service if call.namespace == "default" else f"{call.service} of {call.namespace}"
    shadow = ", in shadow only" if change.shadow else ""
    yield f"{where}: {change.aspect}{shadow}, {counted(change.calls, 'call')} of those tried"
    for sign, said in (("-", change.before), ("+", change.after)):
        place = f"  {', '.join(said.places)}" if said.places else ""
        yield f"{sign} {said.sentence()}{place}"
    if change.moved is not None:
        yield f"  {100 * float(change.moved):.3g} % of the ids come to another version"
    yield f"  {_asked(f'mcpctl explain {call.command()}', args)}"


def _asked(command: str, args: Namespace) -> str:
    """Give a command with the options by which it asks one of the sets, the new one where that can be."""
    from mcp_sdk.cli.policy.sides import is_revision  # noqa: PLC0415 - see _run

    path = next((name for name in (args.new, args.old) if not is_revision(name)), None)
    where = Namespace(**{**vars(args), "namespace": None})  # the call has its own
    if path is not None:
        return following(f"{command} {shlex.join(['-p', path])}", where, store=False)
    return following(command, where)


def _verdict(found: Difference) -> str:
    tried = f"{counted(found.tried, 'call')} tried"
    if found.changes:
        rest = "every kind of call was, nothing else differs" if found.complete else "others may differ as well"
        return f"{counted(len(found.changes), 'difference')} in {tried}; {rest}"
    if found.complete:
        said = "no difference" if found.same else "no call is decided differently"
        return f"{said}: {tried}, which is every kind of call" if found.tried else f"{said}: the policies are equal"
    return f"no difference found in {tried}; others may differ"


VERB = Verb(
    name="diff",
    summary="say what two policy sets decide differently, with a call that shows it",
    examples="""\
  mcpctl policy diff policies/ changed/             which calls differ, and how
  mcpctl policy diff 3 4 -s sqlite:///mesh.db       two revisions of a store
  mcpctl policy diff current policies/ -s sqlite:///mesh.db
                                                    what applying would change
""",
    configure=_configure,
    run=_run,
)
