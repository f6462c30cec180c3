"""Moments as people read them in a table: to the second, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["short"]


def short(moment: datetime | str | float | None) -> str:
    """Write a moment like ``2026-11-22T12:40:11Z``.

    It is a time of a zone, that in ISO 8601, or seconds since the epoch; of none it is empty, and a text that is no
    moment stays as it is.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return str(moment)
    if isinstance(moment, float | int):
        moment = datetime.fromtimestamp(moment, UTC)
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
