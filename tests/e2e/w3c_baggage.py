"""Our list-member codec behind the names that the W3C baggage repository's own tests import from ``baggage``.

``python w3c_baggage.py CHECKOUT`` runs those tests, ``CHECKOUT/test/test_baggage.py``, against it; the exit status is
the number of failures.
"""

from __future__ import annotations

import importlib.util
import sys
import unittest
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Self

from mcp_sdk import members
from mcp_sdk.exceptions import BaggageError
from mcp_sdk.members import Member, Property

__all__ = ["Baggage", "BaggageEntry"]


class BaggageEntry:
    """One list-member, as those tests make and look at it."""

    def __init__(self, key: str, value: str, properties: Iterable[Property] = ()) -> None:
        self._member = Member(key, value, tuple(properties))

    @property
    def key(self) -> str:
        """The key."""
        return self._member.key

    @property
    def value(self) -> str:
        """The decoded value."""
        return self._member.value

    @property
    def properties(self) -> tuple[Property, ...]:
        """The properties, each with a key and a decoded value or None."""
        return self._member.properties

    @classmethod
    def from_string(cls, text: str) -> Self:
        """Read one list-member."""
        try:
            member = Member.parse(text)
        except BaggageError as error:
            raise ValueError(str(error)) from error
        return cls(member.key, member.value, member.properties)

    def to_string(self) -> str:
        """Write it."""
        return str(self._member)


class Baggage:
    """A whole list, read and written by the functions that the header's members go through in the mesh."""

    def __init__(self, entries: Iterable[BaggageEntry] = ()) -> None:
        self.entries = list(entries)

    @classmethod
    def from_string(cls, text: str) -> Self:
        """Read a header."""
        return cls(map(BaggageEntry.from_string, members.split(members.join([text]))))

    def to_string(self) -> str:
        """Write the header, limits applied."""
        return ",".join(members.fitting([entry.to_string() for entry in self.entries], members.MAX_BYTES))


def load(path: Path) -> ModuleType:
    """Import the tests with this module in the place of the ``baggage`` that they import."""
    sys.modules["baggage"] = sys.modules[__name__]
    spec = importlib.util.spec_from_file_location("w3c_test_baggage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(checkout: str) -> int:
    """Run the tests of a checkout, and give the number that fail."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(load(Path(checkout) / "test" / "test_baggage.py"))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    return len(result.errors) + len(result.failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
