"""Where a verb writes: tables and colours for eyes, JSON or YAML for machines."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

from mcp_sdk.exceptions import MissingExtra

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

__all__ = ["Output", "add_output", "import_yaml"]

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LAST = 10  # what a table's last column gets at least before other columns are folded
INDENT = 4  # of the second line of a row, at most


class Output:
    """Writes results to ``out`` and everything else to ``err``. ``format`` is ``table``, ``json`` or ``yaml``.

    Colours appear on a terminal only, and never where ``NO_COLOR`` is set.
    """

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, *, format: str = "table") -> None:  # noqa: A002
        self.out: TextIO | Any = out or sys.stdout
        self.err: TextIO | Any = err or sys.stderr
        self.format = format
        self._shown: Status | None = None

    @cached_property
    def console(self) -> Console:
        """Rich on ``out``."""
        return _console(self.out)

    @cached_property
    def notes(self) -> Console:
        """Rich on ``err``, for progress and notes."""
        return _console(self.err)

    @property
    def for_machines(self) -> bool:
        """Whether a program reads the result."""
        return self.format != "table"

    def line(self, text: str = "") -> None:
        """Write one line of the result as it is."""
        self.out.write(_harmless(text) + "\n")

    def say(self, text: str) -> None:
        """Write one line for a person to ``err``."""
        if self._shown is not None:
            self._shown.stop()
        self.err.write(_harmless(text) + "\n")
        if self._shown is not None:
            self._shown.start()

    def sentence(self, text: str) -> None:
        """Write a sentence of the result; a terminal gets it on lines that end between words."""
        self.line(_wrapped(text, self.out))

    def remark(self, text: str) -> None:
        """Write a sentence for a person to ``err`` as ``sentence`` does. What is to be copied is said by ``say``."""
        self.say(_wrapped(text, self.err))

    def data(self, plain: Any) -> None:
        """Write a result for a machine."""
        if self.format == "yaml":
            yaml = import_yaml("printing YAML")
            self.out.write(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        else:
            self.out.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")

    def record(self, plain: Any) -> None:
        """Write one of a stream of records: a line of JSON, or a YAML document, and at once."""
        if self.format == "yaml":
            yaml = import_yaml("printing YAML")
            self.out.write("---\n" + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        else:
            self.out.write(json.dumps(plain, ensure_ascii=False) + "\n")
        self.out.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
        """Write rows under columns; text that looks like markup stays text.

        A terminal gets columns that fit its width, the last folded first. Anything else gets each row on one line.
        """
        cells = _cells(rows)
        widths = _widths(columns, cells)
        if not self.console.is_terminal:
            lines = [columns, *cells]
            for words in ([title], *lines) if title else lines:
                self.line("  ".join(map(str.ljust, words, widths)).rstrip())
            return
        from rich.markup import escape  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
        kept = sum(widths[:-1]) + 2 * len(widths) + LAST <= self.console.width
        for number, column in enumerate(columns, 1):
            table.add_column(column, overflow="fold", no_wrap=kept and number < len(columns))
        for row in cells:
            table.add_row(*map(escape, row))
        self.console.print(table)

    def fits(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bool:
        """Tell whether a table needs no folding: always where no terminal is written to."""
        needed = sum(_widths(columns, _cells(rows))) + 2 * (len(columns) - 1)
        return not self.console.is_terminal or needed <= self.console.width

    def stacked(self, rows: Iterable[Sequence[object]], first: int) -> None:
        """Write each row on two lines: ``first`` of its cells under each other, and below them the others."""
        cells = _cells(rows)
        widths = _widths(cells[0][:first], [row[:first] for row in cells[1:]]) if cells else []
        for row in cells:
            self.line("  ".join(map(str.ljust, row[:first], widths)).rstrip())
            below = "  ".join(filter(None, row[first:]))
            if below:
                self.line(_wrapped(below, self.out, indent=min(widths[0] + 2, INDENT)))

    def listing(self, columns: Sequence[str], rows: Sequence[Sequence[object]], first: int) -> None:
        """Write a table, or, on a terminal that is too narrow for it, each row as ``stacked`` does."""
        if self.fits(columns, rows):
            self.table(columns, rows)
        else:
            self.stacked(rows, first)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show on ``err`` that something takes its time, while it does; nothing where that is no terminal."""
        if not self.notes.is_terminal:
            yield
            return
        with self.notes.status(f"{what} …") as shown:
            self._shown = shown
            try:
                yield
            finally:
                self._shown = None

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Any]:
        """Show a progress bar on ``err``; yields a function to call with the number of steps done."""
        if not self.notes.is_terminal:
            yield lambda _steps=1: None
            return
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=self.notes, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda steps=1: bar.advance(task, steps)


def _cells(rows: Iterable[Sequence[object]]) -> list[list[str]]:
    return [[_harmless(str(cell)).replace("\n", "\\n") for cell in row] for row in rows]


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(columns, *cells, strict=True)]


def _wrapped(text: str, stream: Any, *, indent: int = 0) -> str:
    """Give a text as it is, or broken between words where a terminal would break it inside of them."""
    before = " " * indent
    if not stream.isatty():
        return before + text
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        text,
        width,
        initial_indent=before,
        subsequent_indent=before,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )


def add_output(parser: ArgumentParser) -> None:
    """Add ``--output`` to the parser of a verb below a verb."""
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="how to print")


def import_yaml(purpose: str) -> Any:
    """Give PyYAML, which only some verbs need; raises ``MissingExtra`` where it is not installed."""
    try:
        return import_module("yaml")
    except ModuleNotFoundError as error:
        raise MissingExtra("PyYAML", extra="policy", purpose=purpose) from error


def _harmless(text: str) -> str:
    """Give text without what commands a terminal: much of what is shown was said by others."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def _console(stream: TextIO) -> Console:
    try:
        from rich.console import Console  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra("rich", extra="cli", purpose="mcpctl") from error
    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty())
