"""Latency of a hit against the number of rules, log-log, a panel a shape: SVG that follows light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["draw"]

Row = dict[str, Any]
Point = tuple[float, float]
COLOURS = {
    "ours": ("#0b63d6", "#6cb0ff"),
    "floor": ("#1f2328", "#e6edf3"),
    "cedar": ("#b35900", "#f0a35e"),
    "rego-cpp": ("#7a3fc9", "#c297ff"),
    "casbin": ("#b3261e", "#ff8f87"),
    "casbin-fast": ("#a1467f", "#f09ad0"),
    "cel-rust": ("#12703a", "#56c781"),
    "cel-cpp": ("#0c7489", "#56c5d8"),
    "flagd": ("#7d6300", "#dcbf4a"),
}
NAMES = {"floor": "by hand", "cel-rust": "cel-rust, scanned", "cel-cpp": "cel-cpp, scanned"}
TITLES = {
    "eq": ("eq", "a service and a state each"),
    "attr": ("attr", "an attribute tells them apart"),
    "in": ("in", "lists of three"),
    "prefix": ("prefix", "startsWith"),
    "range": ("range", "intervals of one number"),
    "mixed": ("mixed", "5 % that nothing can index"),
}
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BELOW, GAP = 470, 330, 58, 52, 132, 40, 14
HEAD, COLUMNS, LABEL = 62, 2, 14
STYLE = """\
text { font: 12px ui-sans-serif, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink) }
.paper { fill: var(--paper) } .title { font-size: 18px; font-weight: 650 } .soft { fill: var(--soft) }
.name { font-size: 14px; font-weight: 650 } .grid { stroke: var(--grid); stroke-width: 1 }
path { fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round }
.lead { stroke-width: 1; stroke-dasharray: 1 3; opacity: .6 }
.floor { stroke-dasharray: 5 4; stroke-width: 2 } .ours { stroke-width: 3.2 } .bold { font-weight: 650 }
"""


@dataclass(frozen=True)
class Scale:
    """Where a size and a latency stand in a panel; decades are of equal width."""

    sizes: tuple[int, int]
    micros: tuple[int, int]
    """Powers of ten."""

    def x(self, n: float) -> float:
        first, last = map(math.log10, self.sizes)
        return LEFT + (math.log10(n) - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, us: float) -> float:
        low, high = self.micros
        return HEIGHT - BELOW - (math.log10(us) - low) / (high - low) * (HEIGHT - TOP - BELOW)


def draw(rows: Sequence[Row]) -> str:
    """Give the chart as an SVG document."""
    measured = _with_floor([row for row in rows if row["hit_us"]])
    shapes = list(dict.fromkeys(row["shape"] for row in measured))
    scale = _scale(measured)
    panels = [
        _placed(_panel(shape, [row for row in measured if row["shape"] == shape], scale), place)
        for place, shape in enumerate(shapes)
    ]
    columns = min(COLUMNS, len(shapes))
    wide, high = columns * WIDTH + GAP, HEAD + math.ceil(len(shapes) / columns) * HEIGHT + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"',
            'role="img" aria-labelledby="title about">',
            '<title id="title">Latency of a look-up against the number of rules</title>',
            f'<desc id="about">{_about(measured)}</desc>',
            f"<style>\n{_colours(0)}@media (prefers-color-scheme: dark) {{\n{_colours(1)}}}\n{STYLE}</style>",
            f'<rect class="paper" width="{wide}" height="{high}" rx="8"/>',
            '<text class="title" x="20" y="32">From a call to its rule, by the number of rules</text>',
            '<text class="soft" x="20" y="52">',
            "Median time of a hit; both axes are logarithmic. A line ends where the next size is over the time budget.",
            "</text>",
            *panels,
            "</svg>\n",
        ]
    )


def _with_floor(rows: Sequence[Row]) -> list[Row]:
    """Put the floor as it was beside ours, in turns, for the floor that was measured alone."""
    ours = [row for row in rows if row["engine"] == "ours"]
    floor = [{**row, "engine": "floor", "hit_us": row["floor_hit_us"]} for row in ours]
    return [*[row for row in rows if row["engine"] != "floor" or not ours], *floor]


def _about(rows: Sequence[Row]) -> str:
    engines = dict.fromkeys(row["engine"] for row in rows)
    return f"Lines for {', '.join(NAMES.get(name, name) for name in engines)}; the figures are in the table beside."


def _colours(theme: int) -> str:
    paper, ink, soft, grid = (
        ("#ffffff", "#1f2328", "#59636e", "#e4e8ec"),
        ("#0d1117", "#e6edf3", "#9198a1", "#262c34"),
    )[theme]
    engines = "".join(f"--{name}: {pair[theme]}; " for name, pair in COLOURS.items())
    return f":root {{ --paper: {paper}; --ink: {ink}; --soft: {soft}; --grid: {grid}; {engines}}}\n"


def _scale(rows: Sequence[Row]) -> Scale:
    sizes, micros = [row["n"] for row in rows], [row["hit_us"] for row in rows]
    low, high = math.floor(math.log10(min(micros))), math.ceil(math.log10(max(micros)))
    return Scale((min(sizes), max(sizes)), (low, max(high, low + 1)))


def _placed(panel: str, place: int) -> str:
    down, across = divmod(place, COLUMNS)
    return f'<g transform="translate({across * WIDTH} {HEAD + down * HEIGHT})">\n{panel}\n</g>'


def _panel(shape: str, rows: Sequence[Row], scale: Scale) -> str:
    name, about = TITLES[shape]
    parts = [f'<text x="20" y="30"><tspan class="name">{name}</tspan><tspan class="soft" dx="8">{about}</tspan></text>']
    parts += _grid(scale, sorted({row["n"] for row in rows}))
    lines = {row["engine"]: [] for row in rows}
    for row in sorted(rows, key=lambda row: row["n"]):
        lines[row["engine"]].append((scale.x(row["n"]), scale.y(row["hit_us"])))
    spread = _spread({engine: points[-1][1] for engine, points in lines.items()}, HEIGHT - BELOW)
    for engine in sorted(lines, key=lambda engine: engine in ("floor", "ours")):
        parts += _line(engine, lines[engine], spread[engine])
    return "\n".join(parts)


def _grid(scale: Scale, sizes: Sequence[int]) -> list[str]:
    right, parts = WIDTH - RIGHT, []
    for power in range(scale.micros[0], scale.micros[1] + 1):
        y = scale.y(10**power)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_time(power)}</text>')
    for n in sizes:
        text = f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
        parts.append(
            f'<text class="soft" x="{scale.x(n):.1f}" y="{HEIGHT - BELOW + 20}" text-anchor="middle">{text}</text>'
        )
    return parts


def _time(power: int) -> str:
    for unit, least in (("s", 6), ("ms", 3), ("µs", 0), ("ns", -3)):
        if power >= least:
            return f"{10 ** (power - least)} {unit}"
    return f"{10.0 ** (power + 3)} ns"


def _spread(ends: dict[str, float], bottom: float) -> dict[str, float]:
    """Move labels apart, each as near to its line's end as the others let it."""
    order = sorted(ends, key=lambda engine: ends[engine])
    places = [ends[engine] for engine in order]
    for _ in range(200):
        for one in range(len(places) - 1):
            lack = LABEL - (places[one + 1] - places[one])
            if lack > 0:
                places[one] -= lack / 2
                places[one + 1] += lack / 2
        places = [min(max(place, TOP), bottom) for place in places]
    return dict(zip(order, places, strict=True))


def _line(engine: str, points: Sequence[Point], label_y: float) -> list[str]:
    colour, kind = f"var(--{engine})", engine if engine in ("ours", "floor") else ""
    (x, y), right = points[-1], WIDTH - RIGHT
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    lead = f"M{x:.1f} {y:.1f}L{right + 2} {y:.1f}L{right + 8} {label_y:.1f}"
    return [
        f'<path class="lead" style="stroke: {colour}" d="{lead}"/>',
        f'<path class="{kind}" style="stroke: {colour}" d="{path}"/>',
        *[
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 if kind == "ours" else 2}" style="fill: {colour}"/>'
            for x, y in points
        ],
        f'<text class="{"bold" if kind else ""}" x="{right + 11}" y="{label_y + 4:.1f}" style="fill: {colour}">',
        f"{NAMES.get(engine, engine)}</text>",
    ]
