"""What the options and settings of ``mcpctl`` take as a value, a number, and the name of a namespace or environment."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

from mcp_sdk.cli.command import WrongUsage
from mcp_sdk.config import PREFIX, Config
from mcp_sdk.services import NAMES, is_name

__all__ = ["checked", "environment", "filled", "namespace", "several"]

MOST = 200
EMPTY = "it is empty, as of a variable that is not set. Give a value, or leave the option out"
UNSET = "is empty, as of a variable that is not set. Give a value, or leave it unset"


def filled(text: str) -> str:
    """Give the value of an option; raises ``ArgumentTypeError`` where it is empty."""
    if not text.strip():
        raise ArgumentTypeError(EMPTY)
    return text


def several(text: str) -> int:
    """Give the whole number that an option bounds something by; raises ``ArgumentTypeError`` below 1."""
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r:.40} is no bound; give a whole number, 1 at least")
    return int(text)


def namespace(text: str) -> str:
    """Give the namespace that an option names; raises ``ArgumentTypeError`` for what no policy can name."""
    return _fitting(text, _no_namespace)


def environment(text: str) -> str:
    """Give the environment that an option names; raises ``ArgumentTypeError`` for what no server takes."""
    return _fitting(text, _no_environment)


def checked(config: Config) -> Config:
    """Give settings whose namespace and environment are names; raises ``WrongUsage`` that says which is none.

    Options were looked at when they were read: what is wrong here comes from the environment or a file.
    """
    for name, wrong in (("namespace", _no_namespace), ("environment", _no_environment)):
        value: str = getattr(config, name)
        why = wrong(value) if value.strip() else UNSET
        if why:
            shown = "" if why is UNSET else f"={value!r:.60}"
            raise WrongUsage(f"{PREFIX}{name.upper()}{shown}, or {name} under [tool.mcp_sdk], {why}")
    return config


def _fitting(text: str, wrong: Callable[[str], str]) -> str:
    why = wrong(filled(text))
    if why:
        raise ArgumentTypeError(f"{text!r:.60} {why}")
    return text


def _no_namespace(text: str) -> str:
    return "" if is_name(text) else f"is no namespace; {NAMES}"


def _no_environment(text: str) -> str:
    fits = text.isprintable() and text == text.strip() and len(text) <= MOST and text != "*"
    return "" if fits else f"is no environment; give one line of at most {MOST} characters, and not * alone"
