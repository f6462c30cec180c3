"""Policy sets named on the command line: files and folders, or a revision that a store holds."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp_sdk.cli.plane import connected, namespace_of
from mcp_sdk.cli.sources import read_models, read_policies
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.diff.witness import Side
from mcp_sdk.snapshot import PolicyRevision

__all__ = ["CURRENT", "is_revision", "read_sides"]

CURRENT = "current"
_OF_STORE = re.compile(r"(?P<store>\w+:.*)@(?P<revision>\d+|current)\Z")
Models = Mapping[str, BusinessModel]


def is_revision(name: str) -> bool:
    """Tell whether a name means a revision of a store: ``3``, ``current``, ``sqlite:///mesh.db@3``."""
    return bool(_OF_STORE.match(name)) or ((name.isdecimal() or name == CURRENT) and not Path(name).exists())


def read_sides(args: Namespace, names: tuple[str, ...]) -> tuple[Side, ...]:
    """Give the programs and models that each name means.

    Files are compiled against the models beside them, added to those of the store where another name is a revision.
    What is current where nothing was ever applied is no policy at all.
    Raises ``PolicyError`` with every finding, ``ConfigurationError`` for a revision that is not there.
    """
    stored = {name: _stored(args, name) for name in names if is_revision(name)}
    known: dict[str, BusinessModel] = {}
    for side in stored.values():
        known |= side.models
    return tuple(stored[name] if name in stored else _compiled(name, known, namespace_of(args)) for name in names)


def _compiled(name: str, known: Models, namespace: str) -> Side:
    from mcp_sdk.policy import compile_policies  # noqa: PLC0415 - the compiler is an extra

    models = {**known, **read_models([name])}
    return Side(compile_policies(read_policies([name]), models, namespace=namespace), models)


def _stored(args: Namespace, name: str) -> Side:
    match = _OF_STORE.match(name)
    wanted = match["revision"] if match else name
    asked = Namespace(**{**vars(args), "store": match["store"] if match else args.store})
    with connected(asked) as mesh:
        plane = mesh.control_plane
        number = None if wanted == CURRENT else int(wanted)
        found, models = plane.policies(number).result(mesh.config.start_timeout), plane.snapshot().models
        if found is None and wanted == CURRENT:
            return Side(_again(PolicyRevision(0, {}), models, mesh.config.namespace), models)
        if found is None:
            raise ConfigurationError(
                f"{_where(mesh.config)} holds no revision {wanted}; {_known(plane.snapshot().revision)}"
            )
        return Side(found.programs or _again(found, models, mesh.config.namespace), models)


def _again(found: PolicyRevision, models: Models, namespace: str) -> Mapping[str, Any]:
    """Compile the files of a revision that a server gave: programs stay where they run."""
    from mcp_sdk.policy import compile_policies  # noqa: PLC0415 - the compiler is an extra

    return compile_policies(dict(found.sources), models, namespace=namespace)


def _where(config: Any) -> str:
    return f"namespace {config.namespace!r}, environment {config.environment!r}"


def _known(revision: int) -> str:
    return f"revision {revision} is in force" if revision else "no policies are in force"
