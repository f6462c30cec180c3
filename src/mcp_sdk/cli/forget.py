"""``mcpctl context forget``: erase an entity, and say in a receipt what was erased where.

Contexts and transitions go from the store; services that hold the entity are told and drop it. Snapshots on the disks
of services hold policies and models, never entities. Of decision logs, the files that are named are rewritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from mcp_sdk.cli.command import ABNORMAL, OK, WrongUsage
from mcp_sdk.cli.entities import model_of
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import connected
from mcp_sdk.context import EntityRef
from mcp_sdk.mesh import Mesh
from mcp_sdk.ports import Receipt
from mcp_sdk.snapshot import canonical

__all__ = ["EXAMPLES", "configure", "names", "run", "strike"]

EXAMPLES = """\
Erases contexts and transitions; services that hold the entity are told to drop
it. A decision log, a file of JSON lines, is rewritten without the lines that
name the entity. Stop its writer first, or let it open the file anew.

  mcpctl context forget order o-1 -s sqlite:///mesh.db > receipt.json
  mcpctl context forget order o-1 --decision-log decisions.jsonl \\
    -s sqlite:///mesh.db
"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("id", metavar="ID", help="the entity's id")
    parser.add_argument(
        "--decision-log", action="append", default=[], metavar="FILE", help="a decision log to strike it from, too"
    )
    parser.set_defaults(output="json")


def run(args: Namespace, output: Output) -> int:
    """Erase and print the receipt; logs are looked at first, so that a wrong name changes nothing."""
    for log in args.decision_log:
        if not Path(log).is_file():
            raise WrongUsage(f"{log} is no file; a decision log holds a JSON record on each line")
    with connected(args) as mesh:
        ref = EntityRef(model_of(mesh, args.model).name, args.id)
        erased = mesh.control_plane.forget(ref).result(mesh.config.start_timeout)
        logs = [_struck(Path(log), ref) for log in args.decision_log]
        receipt = _receipt(mesh, erased, logs)
    output.format = "json" if output.format == "table" else output.format
    output.data(receipt)
    if _nothing(receipt):
        output.say(_said_of_nothing(receipt))
    failed = [log for log in logs if "error" in log]
    for log in failed:
        output.say(f"mcpctl: {log['file']} still names it: {log['error']}. Mend that, and forget it again")
    return ABNORMAL if failed else OK


def _nothing(receipt: dict[str, Any]) -> bool:
    logs = receipt["decision_logs"]
    return not (receipt["contexts"] or receipt["transitions"] or any(log["lines"] or "error" in log for log in logs))


def _said_of_nothing(receipt: dict[str, Any]) -> str:
    where = "{namespace}/{environment}".format(**receipt) + (" nor in the logs" if receipt["decision_logs"] else "")
    return f"nothing was held of {receipt['model']} {receipt['id']!r} in {where}, so nothing was erased"


def _struck(log: Path, ref: EntityRef) -> dict[str, Any]:
    said: dict[str, Any] = {"file": str(log.resolve())}
    try:
        return said | {"lines": strike(log, ref)}
    except OSError as error:
        return said | {"lines": 0, "error": str(error)}


def _receipt(mesh: Mesh, erased: Receipt, logs: list[dict[str, Any]]) -> dict[str, Any]:
    said = {
        "model": erased.ref.model,
        "id": erased.ref.entity_id,
        "namespace": mesh.config.namespace,
        "environment": mesh.config.environment,
        "contexts": erased.contexts,
        "transitions": erased.transitions,
        "decision_logs": logs,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "by": erased.by or _user(),
    }
    return said | {"sha256": hashlib.sha256(canonical(said)).hexdigest()}


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return "unknown"


def strike(log: Path, ref: EntityRef) -> int:
    """Rewrite a decision log without the lines that name an entity, whole or not at all; give how many went."""
    with log.open("rb") as old:
        handle, temporary = tempfile.mkstemp(dir=log.resolve().parent, prefix=f".{log.name}-")
        try:
            with os.fdopen(handle, "wb") as new:
                gone = _copy(old, new, ref)
                new.flush()
                os.fsync(new.fileno())
            if gone:
                shutil.copystat(log, temporary)
                Path(temporary).replace(log.resolve())
        finally:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
    return gone


def _copy(old: BinaryIO, new: BinaryIO, ref: EntityRef) -> int:
    gone = 0
    for line in old:
        if names(line, ref):
            gone += 1
        else:
            new.write(line)
    return gone


def names(line: bytes, ref: EntityRef) -> bool:
    """Tell whether a record of a decision log names an entity: as a context, a reference, or a part of a path.

    A part of a path counts whatever model it is of: rather a line too many goes than one too few.
    A line that is no record, and holds the id as a text, counts as naming it: what cannot be read is not kept.
    """
    record = _loaded(line)
    return ref.entity_id.encode() in line if record is None else _names(record, ref)


def _loaded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _names(record: Any, ref: EntityRef) -> bool:
    if not isinstance(record, dict):
        return False
    return any(found == list(ref) for found in _refs(record)) or ref.entity_id in _segments(record)


def _refs(record: dict[str, Any]) -> Iterator[Any]:
    for context in record.get("contexts") or ():
        if isinstance(context, dict):
            yield [context.get("model"), context.get("id")]
    for name in ("references", "absent"):
        yield from record.get(name) or ()


def _segments(record: dict[str, Any]) -> set[str]:
    """Give the parts of the paths that a record shows, decoded."""
    request = record.get("request")
    facts = request if isinstance(request, dict) else {}
    paths = [record.get("operation"), facts.get("path"), facts.get("operation")]
    return {unquote(part) for path in paths if isinstance(path, str) for part in path.rpartition(" ")[2].split("/")}
