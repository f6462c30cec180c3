"""``mcpctl tap``: decisions as they are made, live; of a plain store, what happens to entities."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any, TypeAlias

from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.entities import model_of, move_of, plain_applied
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, configured, connected
from mcp_sdk.cli.servers import greet, is_server
from mcp_sdk.cli.watching import changes, heard
from mcp_sdk.config import Config
from mcp_sdk.exceptions import StoreError, StoreUnavailable, did_you_mean
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Applied
from mcp_sdk.protocol.plain import applied_from_plain

__all__ = ["COMMAND", "decision_line", "events", "transition_line"]

VERDICTS = ("permit", "deny", "step_up", "review", "throttle", "shed")
_AS_SAID = {"permitted": "permit", "denied": "deny", "throttled": "throttle"}
SILENCE = 60.0
PAUSE = 1.0
"""Seconds before a replica that ended the tap is asked again, where it did not say how many."""
MOST_AWAY = 30.0
Event: TypeAlias = tuple[str, dict[str, Any]]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("filters", nargs="*", default=[], metavar="FILTER", help="order.state=created, order.id=o-1")
    parser.add_argument("--service", default="", help="only decisions on calls to this service")
    parser.add_argument("--verdict", choices=sorted({*VERDICTS, *_AS_SAID}), metavar="NAME", help=", ".join(VERDICTS))
    parser.add_argument("--transitions", action="store_true", help="show what happens to entities, too")
    parser.add_argument("--count", type=int, metavar="N", help="end after N lines (default: Ctrl-C)")
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    for written in args.filters:
        _filter(written)
    config = configured(args)
    try:
        if is_server(config):
            _tap(config, args, output)
        else:
            _transitions(args, output)
    except KeyboardInterrupt:
        output.say("")
    return OK


def _filter(written: str) -> tuple[str, str, str]:
    """Give model, field and value of ``order.state=created``."""
    path, equals, value = written.partition("=")
    model, dot, name = path.partition(".")
    if not (equals and dot and model and name):
        raise WrongUsage(f"{written!r} is no filter; write MODEL.FIELD=VALUE, e.g. order.state=created")
    return model, name, value


# Decisions, of a server


def _tap(config: Config, args: Namespace, output: Output) -> None:
    greet(config)
    if args.filters:
        _check_filters(args)
    told = (said for said in _events(config, args, output) if _telling(*said, output))
    for _ in islice(told, args.count):
        output.out.flush()


def _check_filters(args: Namespace) -> None:
    """Raise for a filter that nothing can ever fit: the tap would stay silent."""
    with connected(args) as mesh:
        if not mesh.control_plane.snapshot().models:
            return  # services that declare them may start later
        for model, name, value in map(_filter, args.filters):
            _check_filter(model_of(mesh, model), name, value)


def _check_filter(model: BusinessModel, name: str, value: str) -> None:
    known = ("id", "state", *model.attributes)
    if name not in known:
        raise WrongUsage(f"{model.name} has no {name!r}.{did_you_mean(name, known)}")
    if name == "state" and model.states:
        model.check_state(value)


def _telling(kind: str, data: dict[str, Any], output: Output) -> bool:
    """Print one event; tell whether it was one to be printed."""
    if kind not in {"decision", "transition"}:
        output.say(_said(kind, data))
        return False
    if output.for_machines:
        output.record({"event": kind} | data)
    elif kind == "decision":
        output.line(decision_line(data.get("record", {})))
    else:
        output.line(transition_line(data))
    return True


def _said(kind: str, data: dict[str, Any]) -> str:
    if kind == "missed":
        return f"too many decisions to show them all; not shown so far, about: {data.get('decisions')}"
    return f"the server says: {kind}" + (", some lines were missed" if kind == "resync" else "")


def _events(config: Config, args: Namespace, output: Output) -> Iterator[Event]:
    """Yield what a replica tells, which hears of what happens at all of them; when it goes, the next one is asked.

    Raises ``StoreUnavailable`` when none of those that are named answers.
    """
    urls = [part.strip().rstrip("/") for part in config.control_plane.split(",") if part.strip()]
    silent = 0
    for url in cycle(urls):
        after = PAUSE
        try:
            for kind, data in _told_by(url, config, args, output):
                silent = 0
                after = min(float(data.get("after", after)), MOST_AWAY) if kind == "bye" else PAUSE
                yield kind, data
        except StoreUnavailable as error:
            silent += 1
            if silent >= len(urls):
                raise
            output.say(f"{error}; going on at the next replica, some lines may be missed")
        else:
            silent = 0
            time.sleep(after)


def _told_by(url: str, config: Config, args: Namespace, output: Output) -> Iterator[Event]:
    import httpx  # noqa: PLC0415 - an extra, which greeting the server has found

    from mcp_sdk.clients.api import refusal, tls_context  # noqa: PLC0415 - as above

    params: list[tuple[str, str | int | float | bool | None]] = [("filter", each) for each in args.filters]
    params += [("service", args.service)] if args.service else []
    params += [("verdict", _AS_SAID.get(args.verdict, args.verdict))] if args.verdict else []
    params += [("kind", "all" if args.transitions else "decisions")]
    params += [("namespace", config.namespace), ("environment", config.environment)]
    headers = {"accept": "text/event-stream"} | ({"authorization": f"Bearer {config.token}"} if config.token else {})
    try:
        with (
            httpx.Client(verify=tls_context(config) or True, trust_env=False, timeout=SILENCE) as client,
            client.stream("GET", f"{url}/v1/tap", params=params, headers=headers) as response,
        ):
            if response.status_code == 404:
                raise StoreError(f"the server at {url} has no tap (404 for /v1/tap): it is older than this mcpctl")
            if response.status_code >= 300:
                raise refusal(response.status_code, response.read())
            output.say("tapping decisions; Ctrl-C ends")
            output.err.flush()
            yield from events(response.iter_lines())
    except httpx.TransportError as error:
        raise StoreUnavailable(f"the tap of {url} broke off: {error or type(error).__name__}") from error


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Yield name and JSON object of each server-sent event (WHATWG HTML, 9.2); one without an object is passed over."""
    data: list[str] = []
    name = ""
    for line in lines:
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field == "event":
            name = value.removeprefix(" ")
        elif not line:
            record = json.loads("\n".join(data)) if data else None
            if isinstance(record, dict):
                yield name or "message", record
            data, name = [], ""


def decision_line(record: dict[str, Any]) -> str:
    """Write a record of the decision log in a line: when, on which side of the call, who, what, how and why."""
    reasons = record.get("reasons") or [{}]
    first = reasons[0]
    why = f"by {first['policy']}/{first.get('rule') or 'default'}" if first.get("policy") else ""
    contexts = record.get("contexts") or ()
    about = " ".join(f"{each.get('model')} {each.get('id')} {each.get('state') or ''}".rstrip() for each in contexts)
    said = [str(record.get(name) or "") for name in ("time", "phase", "service", "operation", "verdict", "route")]
    return "  ".join(text for text in (*said, why, about) if text)


def transition_line(plain: dict[str, Any]) -> str:
    """Write a transition with its outcome in a line."""
    applied = applied_from_plain(plain)
    told = plain_applied(applied, BusinessModel(applied.transition.model))
    return (
        f"{told['at']}  {told['source']}  {told['model']} {told['id']}  {move_of(told)}  {told['attributes']}".rstrip()
    )


# Transitions, of a store


def _transitions(args: Namespace, output: Output) -> None:
    if args.verdict:
        raise WrongUsage("a store knows of no verdicts: --verdict needs a server, mcpctl serve")
    with connected(args) as mesh:
        found = _wanted_models(mesh, args.filters)
        output.say("a store knows of no decisions; showing transitions. Decisions need a server: mcpctl serve")
        with heard(mesh, [model.name for model in found]) as waiting:
            output.err.flush()
            seen = (
                change.applied
                for change in changes(waiting)
                if change.applied is not None and _fits(change.applied, args.filters, args.service)
            )
            for applied in islice(seen, args.count):
                _tell(applied, mesh.control_plane.snapshot().models[applied.transition.model], output)


def _wanted_models(mesh: Mesh, filters: Sequence[str]) -> list[BusinessModel]:
    wanted = [_filter(written) for written in filters]
    for model, name, value in wanted:
        _check_filter(model_of(mesh, model), name, value)
    named = {model: model_of(mesh, model) for model, _, _ in wanted}
    return list(named.values()) or list(mesh.control_plane.snapshot().models.values())


def _fits(applied: Applied, filters: Sequence[str], service: str) -> bool:
    facts = {name: str(value) for name, value in applied.context.facts.items()}
    facts["id"] = applied.transition.entity_id
    wanted = (_filter(written) for written in filters)
    return service in ("", applied.transition.source) and all(
        model == applied.transition.model and facts.get(name) == value for model, name, value in wanted
    )


def _tell(applied: Applied, model: BusinessModel, output: Output) -> None:
    told = plain_applied(applied, model)
    if output.for_machines:
        output.record(told)
        return
    moved = move_of(told)
    output.line(f"{told['at']}  {told['source']}  {model.name} {told['id']}  {moved}  {told['attributes']}".rstrip())
    output.out.flush()


COMMAND = Command(
    name="tap",
    summary="show decisions as they are made",
    description="""\
Show decisions as they are made, a line each; -o json writes JSON lines. A plain
store knows of no decisions: there the transitions are shown. Ctrl-C ends it.

  mcpctl tap order.state=created -s https://mesh.internal
  mcpctl tap --service transfers --verdict denied -o json -s https://mesh.internal
  mcpctl tap order.state=created -s sqlite:///mesh.db
""",
    configure=_configure,
    run=_run,
)
