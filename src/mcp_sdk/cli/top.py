"""``mcpctl top``: what moves, and how much: transitions a second, entities by state, endpoints."""

from __future__ import annotations

import queue
import time
from argparse import ArgumentParser, Namespace
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.cli.command import OK, Command
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.cli.watching import heard
from mcp_sdk.mesh import Mesh
from mcp_sdk.ports import AppendStatus, Change

__all__ = ["COMMAND", "Rates"]

STATES = ("model", "state", "entities", "per_second")
SERVICES = ("service", "version", "endpoints", "per_second")
PAGE, MOST = 1000, 20_000
"""Entities that are counted of a model, at most; more are shown as ``20000+``."""
SPAN = 10.0


@dataclass
class Rates:
    """Transitions of the last ``SPAN`` seconds, by model and state and by the service that made them."""

    since: float
    seen: deque[tuple[float, str, str, str]] = field(default_factory=deque)

    def hear(self, change: Change, now: float) -> None:
        """Count a transition that was applied."""
        applied = change.applied
        if applied is not None and applied.status is AppendStatus.APPLIED:
            made = applied.transition
            self.seen.append((now, made.model, applied.context.state or "", made.source))

    def rates(self, now: float) -> tuple[Mapping[tuple[str, str], float], Mapping[str, float]]:
        """Give transitions a second by model and state, and by service."""
        while self.seen and self.seen[0][0] < now - SPAN:
            self.seen.popleft()
        span = max(min(now - self.since, SPAN), 0.001)
        states = Counter((model, state) for _, model, state, _ in self.seen)
        services = Counter(source for *_, source in self.seen)
        return {key: n / span for key, n in states.items()}, {key: n / span for key, n in services.items()}


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="watch for one interval, print once, and end")
    parser.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between prints (default: 2)")
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    with connected(args) as mesh, heard(mesh, mesh.control_plane.snapshot().models) as waiting:
        rates, interval = Rates(time.monotonic()), max(args.interval, 0.1)
        try:
            if args.once:
                _show(_tables(mesh, _listened(rates, waiting, interval)), output)
            else:
                _refresh(mesh, rates, waiting, interval, output)
        except KeyboardInterrupt:
            output.say("")
    return OK


def _listened(rates: Rates, waiting: queue.Queue[Change], interval: float) -> Rates:
    until = time.monotonic() + interval
    while (left := until - time.monotonic()) > 0:
        try:
            change = waiting.get(timeout=min(left, 0.2))
        except queue.Empty:
            continue
        rates.hear(change, time.monotonic())
    return rates


def _refresh(mesh: Mesh, rates: Rates, waiting: queue.Queue[Change], interval: float, output: Output) -> None:
    if output.for_machines or not output.console.is_terminal:
        while True:
            _show(_tables(mesh, _listened(rates, waiting, interval)), output)
    from rich.console import Group  # noqa: PLC0415 - for a terminal alone
    from rich.live import Live  # noqa: PLC0415 - as above

    with Live(console=output.console, screen=True, auto_refresh=False) as live:
        while True:
            tables = _tables(mesh, rates).items()
            live.update(Group(*(_rich(title, table) for title, table in tables)), refresh=True)
            _listened(rates, waiting, interval)


Tables = dict[str, tuple[tuple[str, ...], list[list[Any]]]]


def _tables(mesh: Mesh, rates: Rates) -> Tables:
    states, services = rates.rates(time.monotonic())
    return {
        "entities": (STATES, _entities(mesh, states)),
        "services": (SERVICES, _services(mesh, services)),
    }


def _entities(mesh: Mesh, rates: Mapping[tuple[str, str], float]) -> list[list[Any]]:
    rows = []
    for model in mesh.control_plane.snapshot().models.values():
        counted, whole = _counted(mesh, model.name)
        for state in dict.fromkeys([*model.states, *counted]):
            number = counted.get(state, 0)
            rate = round(rates.get((model.name, state), 0.0), 1)
            rows.append([model.name, state, number if whole else f"{number}+", rate])
    return rows


def _counted(mesh: Mesh, model: str) -> tuple[Counter[str], bool]:
    counted: Counter[str] = Counter()
    after = ""
    while counted.total() < MOST:
        page = mesh.control_plane.list(model, limit=PAGE, after=after).result(mesh.config.start_timeout)
        counted.update(context.state or "" for context in page.contexts)
        after = page.after
        if not after:
            return counted, True
    return counted, False


def _services(mesh: Mesh, rates: Mapping[str, float]) -> list[list[Any]]:
    alive = Counter((each.service, each.version) for each in mesh.control_plane.endpoints(""))
    rows: list[list[Any]] = [[*key, number, round(rates.get(key[0], 0.0), 1)] for key, number in sorted(alive.items())]
    known = {service for service, _ in alive}
    rows += [[service, "", 0, round(rate, 1)] for service, rate in sorted(rates.items()) if service not in known]
    return rows


def _show(tables: Tables, output: Output) -> None:
    if output.for_machines:
        output.record(
            {title: [dict(zip(columns, row, strict=True)) for row in rows] for title, (columns, rows) in tables.items()}
        )
        return
    for columns, rows in tables.values():
        output.table(columns, rows)
        output.line()
    output.out.flush()


def _rich(title: str, table: tuple[tuple[str, ...], list[list[Any]]]) -> Any:
    from rich.markup import escape  # noqa: PLC0415 - for a terminal alone
    from rich.table import Table  # noqa: PLC0415 - as above

    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in table[0]:
        made.add_column(column)
    for row in table[1]:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


COMMAND = Command(
    name="top",
    summary="show live what moves, by state and by service",
    description="""\
Show live how many entities are in which state, how many transitions a second
lead there, and which services make them. A service that has no endpoint
announced counts 0 endpoints. Rates are of the last 10 seconds.

  mcpctl top -s sqlite:///mesh.db             refreshes until Ctrl-C
  mcpctl top --once -o json -s https://mesh.internal
""",
    configure=_configure,
    run=_run,
)
