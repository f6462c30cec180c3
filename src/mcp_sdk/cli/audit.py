"""``mcpctl audit``: who did what, and whether the log still says so."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcp_sdk.audit import Entry, Head, verify
from mcp_sdk.cli.asking import add_action, add_server, ask
from mcp_sdk.cli.command import FAILED, OK, Command, WrongUsage
from mcp_sdk.cli.following import following
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.times import short
from mcp_sdk.exceptions import StoreError

__all__ = ["COMMAND"]

PAGE = 1000
COLUMNS = ("number", "time", "who", "what", "phase", "where", "target")
FIRST = 5
"""How many of these are in the first line of an entry that has two."""


def _configure(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="ACTION", required=True)
    listed = add_action(verbs, "list", "list entries", "mcpctl audit list --after 40")
    listed.add_argument("--after", type=int, default=0, metavar="NUMBER", help="only those after this one")
    listed.add_argument("--limit", type=int, default=PAGE, help=f"how many at the most (default: {PAGE})")
    listed.set_defaults(act=_list)
    checked = add_action(
        verbs,
        "verify",
        "check the chain of hashes; exit 1 where it is broken",
        "mcpctl audit verify --head 41:9c1e…",
        "mcpctl audit verify audit.jsonl",
    )
    checked.add_argument("file", nargs="?", metavar="FILE", help="an exported log, checked without a server")
    checked.add_argument("--head", metavar="NUMBER:DIGEST", help="a head that was seen before, which must still hold")
    checked.set_defaults(act=_verify)
    export = add_action(verbs, "export", "write all entries as JSON lines", "mcpctl audit export audit.jsonl")
    export.add_argument("file", nargs="?", metavar="FILE", help="where to (default: standard output)")
    export.set_defaults(act=_export)
    for each in (listed, checked, export):
        add_server(each)


def _pages(args: Namespace, after: int = 0) -> Iterator[dict[str, Any]]:
    while True:
        page = ask(args, "GET", "/v1/audit", params={"after": after, "limit": PAGE})
        yield page
        if page["end"] or page["after"] == after:
            return
        after = page["after"]


def _list(args: Namespace, output: Output) -> int:
    entries: list[dict[str, Any]] = []
    for page in _pages(args, args.after):
        entries += page["entries"]
        if len(entries) >= args.limit:
            break
    entries = entries[: args.limit]
    if output.for_machines:
        output.data(entries)
    else:
        _show([_row(one) for one in entries], output)
    return OK


def _show(rows: list[list[str]], output: Output) -> None:
    """Print a line for each entry, or two where a terminal is too narrow for one."""
    if output.fits(COLUMNS, rows):
        output.table(COLUMNS, rows)
        return
    output.stacked([[row[0], short(row[1]), *row[2:]] for row in rows], FIRST)


def _row(one: dict[str, Any]) -> list[str]:
    if "unreadable" in one:
        return ["?", "", "", "unreadable", "", "", str(one["unreadable"])[:80]]
    return [*(str(one[name]) for name in COLUMNS[:FIRST]), f"{one['namespace']}/{one['environment']}", one["target"]]


def _fetched(args: Namespace) -> tuple[list[str], Head]:
    texts: list[str] = []
    head = Head()
    for page in _pages(args):
        if not page["whole"]:
            raise StoreError(
                "this token sees a part of the log only, and a part cannot be verified. Ask with one that audits every "
                "namespace and environment"
            )
        texts += [_text(plain) for plain in page["entries"]]
        head = Head(page["head"]["number"], page["head"]["digest"])
    return texts, head


def _text(plain: dict[str, Any]) -> str:
    return str(plain["unreadable"]) if "unreadable" in plain else Entry.from_dict(plain).text()


def _verify(args: Namespace, output: Output) -> int:
    if args.file:
        texts, head = _exported(args), None
    else:
        texts, head = _fetched(args)
    broken = verify(texts, head=_head(args.head) or head)
    if broken is not None:
        result: dict[str, Any] = {"whole": False, "entry": broken.number, "why": broken.why, "detail": broken.detail}
        text = f"entry {broken.number} is broken ({broken.why}): {broken.detail}"
    else:
        last = Entry.from_text(texts[-1]).head if texts else Head()
        result = {"whole": True, "entries": len(texts), "head": f"{last.number}:{last.digest}"}
        text = f"{len(texts)} entries, unbroken. Keep the head, and give it as --head next time:\n{result['head']}"
    if output.for_machines:
        output.data(result)
    else:
        output.line(text)
    return OK if broken is None else FAILED


def _exported(args: Namespace) -> list[str]:
    file = Path(args.file)
    if not file.exists():
        write = following(shlex.join(["mcpctl", "audit", "export", args.file]), args)
        raise WrongUsage(f"{file} does not exist. Write it with: {write}")
    return file.read_text(encoding="utf-8").splitlines()


def _head(text: str | None) -> Head | None:
    if text is None:
        return None
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise WrongUsage(f"--head {text!r:.90} is no NUMBER:DIGEST, as mcpctl audit verify prints it")
    return Head(int(number), digest)


def _export(args: Namespace, output: Output) -> int:
    texts, head = _fetched(args)
    content = "".join(f"{text}\n" for text in texts)
    if not args.file:
        output.out.write(content)
        return OK
    Path(args.file).write_text(content, encoding="utf-8")
    if output.for_machines:
        output.data({"file": args.file, "entries": len(texts), "head": f"{head.number}:{head.digest}"})
    else:
        output.say(f"{len(texts)} entries written; the head is {head.number}:{head.digest}")
    return OK


def _run(args: Namespace, output: Output) -> int:
    return int(args.act(args, output))


COMMAND = Command(
    name="audit",
    summary="see who did what, and check that the log still says so",
    description="""\
Every change that somebody made is in one log, each entry hashed over the one
before it. Keep the head that verify prints elsewhere: with it, a log that was
cut off or written anew is found out too.

  mcpctl audit list
  mcpctl audit verify --head 41:9c1e…
  mcpctl audit export audit.jsonl && mcpctl audit verify audit.jsonl
""",
    configure=_configure,
    run=_run,
)
