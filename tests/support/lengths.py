"""How long and how large a fault test is: small in the gate, in earnest in ``nox -s faults``."""

from __future__ import annotations

import os
from typing import TypeVar

__all__ = ["LONG", "length"]

T = TypeVar("T")
LONG = os.environ.get("MCP_SDK_TEST_LONG") == "1"


def length(short: T, long: T) -> T:
    """Give what is to be used in this run."""
    return long if LONG else short
