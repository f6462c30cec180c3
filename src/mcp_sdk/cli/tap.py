"""``mcpctl tap``: decisions as they are made, live; of a plain store, what happens to entities."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import cycle, islice
from math import inf
from typing import Any, TypeAlias

from mcp_sdk.cli.asking import ask, scope_of
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.entities import move_of, plain_applied
from mcp_sdk.cli.facts import attribute_value
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, configured, connected
from mcp_sdk.cli.servers import greet, is_server
from mcp_sdk.cli.watching import changes, heard
from mcp_sdk.config import Config
from mcp_sdk.context import plain_value
from mcp_sdk.exceptions import ConfigurationError, MeshError, StoreError, StoreUnavailable, UnknownModel, did_you_mean
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Applied
from mcp_sdk.protocol.filters import Filter, text_of
from mcp_sdk.protocol.plain import applied_from_plain, each
from mcp_sdk.protocol.plain import plain_applied as sent

__all__ = ["COMMAND", "Models", "decision_line", "events", "stored", "transition_line"]

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


# Filters


def _filter(written: str) -> tuple[str, str, str]:
    """Give model, field and value of ``order.state=created``."""
    path, equals, value = written.partition("=")
    model, dot, name = path.partition(".")
    if not (equals and dot and model and name):
        raise WrongUsage(f"{written!r} is no filter; write MODEL.FIELD=VALUE, e.g. order.state=created")
    return model, name, value


def stored(written: str, models: Mapping[str, BusinessModel]) -> str:
    """Give a filter as records and stores have its value: ``order.amount=250.00`` in minor units.

    Raises ``UnknownModel``, ``UnknownState`` and ``WrongUsage`` for one that nothing can ever fit: the tap would stay
    silent.
    """
    model, name, value = _filter(written)
    if model not in models:
        raise UnknownModel(model, list(models))
    return f"{model}.{name}={_stored(models[model], name, value)}"


def _stored(model: BusinessModel, name: str, value: str) -> str:
    known = ("id", "state", *model.attributes)
    if name not in known:
        raise WrongUsage(f"{model.name} has no {name!r}.{did_you_mean(name, known)}")
    if name in model.attributes:
        try:
            return text_of(plain_value(attribute_value(model, name, value)))
        except ConfigurationError as error:
            raise WrongUsage(str(error)) from error
    return model.check_state(value) if name == "state" else value


# Decisions, of a server


class Models:
    """The declared models, by name; ``read`` is asked again for one that is not among those it gave before."""

    def __init__(self, read: Callable[[], Mapping[str, BusinessModel]]) -> None:
        self._read, self._asked = read, -inf
        self._held: Mapping[str, BusinessModel] = {}

    def __call__(self, name: str) -> BusinessModel:
        """Give a model; one that nobody declares has no attributes, and is not asked for at each of its lines."""
        if name not in self._held and time.monotonic() - self._asked >= PAUSE:
            self._asked = time.monotonic()
            with suppress(MeshError):  # a replica that is away ends no tap: it goes on at the next
                self._held = self._read()
        return self._held.get(name) or BusinessModel(name)


def _declared(args: Namespace) -> dict[str, BusinessModel]:
    said = ask(args, "GET", "/v1/models", params=scope_of(args))["models"]
    return {model.name: model for model in each(BusinessModel.from_dict, said)}


def _tap(config: Config, args: Namespace, output: Output) -> None:
    greet(config)
    if args.filters:
        _check_filters(args, output)
    models = Models(lambda: _declared(args))
    told = (said for said in _events(config, args, output) if _telling(*said, models, output))
    for _ in islice(told, args.count):
        output.out.flush()


def _check_filters(args: Namespace, output: Output) -> None:
    """Write the filters as the server compares them; raises for one that nothing can ever fit."""
    models = _declared(args)
    if models:
        args.filters = [stored(written, models) for written in args.filters]
    else:  # services that declare them may start later
        output.say("no model is declared yet: a filter's value is taken as it is stored, a decimal in minor units")


def _telling(kind: str, data: dict[str, Any], models: Models, output: Output) -> bool:
    """Print one event; tell whether it was one to be printed."""
    if kind not in {"decision", "transition"}:
        output.say(_said(kind, data))
        return False
    if output.for_machines:
        output.record({"event": kind} | data)
    elif kind == "decision":
        output.line(decision_line(data.get("record", {})))
    else:
        output.line(transition_line(data, models))
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
    if record.get("enforced") is False:
        said[4] += " (observed)"
    return "  ".join(text for text in (*said, why, about) if text)


def transition_line(plain: dict[str, Any], models: Callable[[str], BusinessModel]) -> str:
    """Write a transition with its outcome in a line, its attributes as its model declares them."""
    applied = applied_from_plain(plain)
    return _line(plain_applied(applied, models(applied.transition.model)))


def _line(told: dict[str, Any]) -> str:
    moved = f"{told['model']} {told['id']}  {move_of(told)}"
    return f"{told['at']}  {told['source']}  {moved}  {told['attributes']}".rstrip()


# Transitions, of a store


def _transitions(args: Namespace, output: Output) -> None:
    if args.verdict:
        raise WrongUsage("a store knows of no verdicts: --verdict needs a server, mcpctl serve")
    with connected(args) as mesh:
        found, wanted = _wanted(args, mesh.control_plane.snapshot().models)
        output.say("a store knows of no decisions; showing transitions. Decisions need a server: mcpctl serve")
        with heard(mesh, [model.name for model in found]) as waiting:
            output.err.flush()
            seen = (
                change.applied
                for change in changes(waiting)
                if change.applied is not None and wanted.fits_transition(sent(change.applied))
            )
            for applied in islice(seen, args.count):
                _tell(applied, mesh.control_plane.snapshot().models[applied.transition.model], output)


def _wanted(args: Namespace, models: Mapping[str, BusinessModel]) -> tuple[list[BusinessModel], Filter]:
    """Give the models that are listened to, and what of them is shown."""
    filters = [stored(written, models) for written in args.filters]
    named = {model: models[model] for model, _, _ in map(_filter, filters)}
    return list((named or models).values()), Filter.parse(filters, service=args.service)


def _tell(applied: Applied, model: BusinessModel, output: Output) -> None:
    told = plain_applied(applied, model)
    if output.for_machines:
        output.record(told)
    else:
        output.line(_line(told))
        output.out.flush()


COMMAND = Command(
    name="tap",
    summary="show decisions as they are made",
    description="""\
Show decisions as they are made, a line each; -o json writes JSON lines. A plain
store knows of no decisions: there the transitions are shown. Ctrl-C ends it.

  mcpctl tap order.state=created -s https://mesh.internal
  mcpctl tap --service transfers --verdict denied -o json
  mcpctl tap order.state=created -s sqlite:///mesh.db
""",
    configure=_configure,
    run=_run,
)
