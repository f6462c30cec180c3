"""Policies in their sources: a file may hold several, one a YAML document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from mcp_sdk.cli.output import import_yaml

__all__ = ["Document", "documents", "without"]

_MARK = re.compile(r"^---(?=\s|$)", re.MULTILINE)
"""Begins a document (YAML 1.2, 9.1.2): at the start of a line it can be nothing else."""


@dataclass(frozen=True)
class Document:
    """One policy as it was written: ``text`` is its document in ``file``, the mark before it included."""

    kind: str
    name: str
    file: str
    text: str


def documents(sources: Mapping[str, str]) -> Iterator[Document]:
    """Yield every policy in some files, in order; what holds no policy is passed over."""
    yaml = import_yaml("reading policies")
    for file, text in sources.items():
        for part in _parts(text):
            try:
                plain = yaml.safe_load(part)
                yield Document(str(plain.get("kind", "")), str(plain["metadata"]["name"]), file, part)
            except (yaml.YAMLError, AttributeError, KeyError, TypeError):
                continue


def without(sources: Mapping[str, str], name: str, kind: str = "") -> dict[str, str]:
    """Give sources from which the policies of a name, and kind where one is said, were taken."""
    gone = [each for each in documents(sources) if each.name == name and kind in ("", each.kind)]
    left = dict(sources)
    for each in gone:
        left[each.file] = left[each.file].replace(each.text, "", 1)
    holding = {each.file for each in documents(left)}
    touched = {each.file for each in gone}
    return {file: text for file, text in left.items() if file not in touched or file in holding}


def _parts(text: str) -> list[str]:
    starts = [0, *(match.start() for match in _MARK.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(starts) if text[start:end].strip()]
