"""The one table, in Markdown, and what the targets say of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["targets", "written"]

Row = dict[str, Any]
RATIO, LOAD_S, LOAD_MB, P50_US, P99_US, FULL = 2.0, 2.0, 100.0, 5.0, 20.0, 100_000
RESIDUE, TIMES = "mixed", "\N{MULTIPLICATION SIGN}"


def written(rows: Sequence[Row]) -> str:
    """Write a line for each engine and shape: hit / miss and ratio at each N, then what the largest N cost."""
    sizes = sorted({row["n"] for row in rows})
    head = ["shape", "engine", *[f"N = {n:,}".replace(",", " ") for n in sizes], "p99", "in a reload", "load", "memory"]
    lines = [_line(head), _line(["---"] * len(head))]
    for shape, engine in dict.fromkeys((row["shape"], row["engine"]) for row in _by_shape(rows)):
        some = {row["n"]: row for row in rows if (row["shape"], row["engine"]) == (shape, engine)}
        lines.append(_line([shape, engine, *[_cell(some.get(n)) for n in sizes], *_largest(some)]))
        if any(row.get("decide_us") for row in some.values()):
            lines.append(
                _line([shape, f"{engine}, whole decision", *[_decision(some.get(n)) for n in sizes], *_tail(some)])
            )
    return "\n".join(lines + _notes(rows))


def _by_shape(rows: Sequence[Row]) -> list[Row]:
    order = list(dict.fromkeys(row["shape"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["shape"]))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(row: Row | None) -> str:
    if row is None or row["hit_us"] is None:
        return "" if row is None else "—"
    hit, miss = row["hit_us"], row["miss_us"]
    unit, each = ("ms", 1000) if min(hit, miss) >= 1000 else ("µs", 1)
    return f"{_short(hit / each)} / {_short(miss / each)} {unit}, {TIMES}{_short(row['ratio'])}"


def _decision(row: Row | None) -> str:
    if row is None or row.get("decide_us") is None:
        return ""
    return f"{_short(row['decide_us'])} µs, {_short(row['decide_fresh_us'])} if new"


def _largest(some: dict[int, Row]) -> list[str]:
    """Give what the largest set that was measured cost; its size is named where it is not the largest of all."""
    measured = [n for n, row in some.items() if row["hit_us"] is not None]
    if not measured:
        return ["", "", "", ""]
    last = some[max(measured)]
    at = "" if max(measured) == max(some) else f" at {max(measured):,}".replace(",", " ")
    p99 = max(filter(None, (last.get("hit_p99_us"), last.get("miss_p99_us"))), default=None)
    reload = None if "decide_us" in last else last.get("reload_p99_us")
    return [_micro(p99), _micro(reload), f"{_short(last['load_s'])} s{at}", f"{last['rss_mb']:.0f} MB"]


def _tail(some: dict[int, Row]) -> list[str]:
    last = some[max(some)]
    return [_micro(last.get("decide_p99_us")), _micro(last.get("reload_p99_us")), "", ""]


def _micro(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{_short(value)} µs" if value < 1000 else f"{_short(value / 1000)} ms"


def _short(value: float) -> str:
    """Give three figures, and thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _notes(rows: Iterable[Row]) -> list[str]:
    """Say why cells are empty, once for each reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "note" in row:
            reasons.setdefault((row["engine"], row["note"]), []).append(
                f"{row['shape']} {row['n']:,}".replace(",", " ")
            )
    return (
        ["", *[f"- — {engine}: {note} ({', '.join(where)})" for (engine, note), where in reasons.items()]]
        if reasons
        else []
    )


def targets(rows: Sequence[Row]) -> str:
    """Hold ours against the targets, and name every cell that misses one."""
    ours = [row for row in rows if row["engine"] == "ours" and row["hit_us"] is not None]
    if not ours:
        return "Ours was not measured."
    full, indexed = [row for row in ours if row["n"] == FULL], [row for row in ours if row["shape"] != RESIDUE]
    lines = [
        _target(
            f"look-up and condition at most {RATIO:g} {TIMES} the floor, but for the residue", indexed, "ratio", RATIO
        ),
        _target(f"100 000 rules loaded in {LOAD_S:g} s", full, "load_s", LOAD_S),
        _target(f"100 000 rules in {LOAD_MB:g} MB", full, "rss_mb", LOAD_MB),
        _target(f"whole decision, p50, at most {P50_US:g} µs, but for the residue", indexed, "decide_us", P50_US),
        _target(f"whole decision, p99, at most {P99_US:g} µs, but for the residue", indexed, "decide_p99_us", P99_US),
    ]
    return "\n".join(lines)


def _target(what: str, rows: Sequence[Row], field: str, most: float) -> str:
    """Say whether every row keeps to a target, with the worst figure, or which do not."""
    found = [(row[field], _where(row)) for row in rows if row[field] is not None]
    if not found:
        return f"- {what}: not measured"
    missed = [f"{where} ({_short(value)})" for value, where in found if value > most]
    worst, where = max(found)
    return f"- {what}: " + (
        f"**missed** by {', '.join(missed)}" if missed else f"met, at worst {_short(worst)} ({where})"
    )


def _where(row: Row) -> str:
    return f"{row['shape']} {row['n']:,}".replace(",", " ")
