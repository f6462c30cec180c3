"""Commands that verbs print for what comes next: typed as they stand, they mean the same control plane and scope."""

from __future__ import annotations

import shlex
from argparse import Namespace

from mcp_sdk.config import Config, from_env

__all__ = ["following", "following_of"]

_OPTIONS = (("-s", "store"), ("-n", "namespace"), ("-e", "environment"))


def following(command: str, args: Namespace, *, store: bool = True) -> str:
    """Give a command of ``mcpctl`` with ``-s``, ``-n`` and ``-e`` as they were given to this one.

    ``store`` is whether the command asks a control plane at all.
    """
    given = [(option, getattr(args, name, None)) for option, name in _OPTIONS[0 if store else 1 :]]
    return " ".join([command, *(f"{option} {shlex.quote(value)}" for option, value in given if value)])


def following_of(command: str, config: Config) -> str:
    """Give a command of ``mcpctl`` with the options that say where, as far as the settings here say otherwise."""
    here = from_env(service="mcpctl", url="")
    said = {"store": config.control_plane, "namespace": config.namespace, "environment": config.environment}
    usual = {"store": here.control_plane, "namespace": here.namespace, "environment": here.environment}
    return following(command, Namespace(**{name: value for name, value in said.items() if value != usual[name]}))
