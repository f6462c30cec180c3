"""Reading policy and model files from disk for the verbs that take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcp_sdk.cli.command import WrongUsage
from mcp_sdk.exceptions import ConfigurationError, PolicyError
from mcp_sdk.models import BusinessModel

__all__ = ["CASE_ENDINGS", "read_case_files", "read_declarations", "read_models", "read_policies"]

SUFFIXES = (".yaml", ".yml")
CASE_ENDINGS = ("_test.yaml", "_test.yml", ".test.yaml", ".test.yml")
"""How the names of files end that hold cases for ``mcpctl policy test``."""


def read_policies(paths: Sequence[str]) -> dict[str, str]:
    """Give the text of every policy file under ``paths`` by name; raises ``WrongUsage`` when there is none.

    Files of models and of cases are none, and files that say nothing are not enough: a set of no policies takes all
    away, which is more likely what is left of a generator that failed than what is meant.
    """
    files = [file for path in paths for file in _files(Path(path)) if not _holds_cases(file)]
    sources = {str(file): _text(file) for file in files if not file.stem.endswith("models")}
    if not sources:
        raise WrongUsage(f"no policy files (*.yaml) in {', '.join(paths)}")
    if not any(map(_says_something, sources.values())):
        raise WrongUsage(f"no policy is in {', '.join(sources)}. Take policies away with: mcpctl delete policy NAME")
    return sources


def _says_something(text: str) -> bool:
    lines = map(str.strip, text.splitlines())
    return any(line and line != "---" and not line.startswith("#") for line in lines)


def read_models(paths: Sequence[str]) -> dict[str, BusinessModel]:
    """Give the models declared in ``models.yaml`` files (a list under ``models:``) under ``paths``, by name.

    Raises ``PolicyError`` with every finding on them.
    """
    from mcp_sdk.policy.findings import Collector  # noqa: PLC0415 - the policies' load is for verbs that read files
    from mcp_sdk.policy.source import declarations  # noqa: PLC0415 - as above

    findings = Collector()
    declared = declarations.read_models(read_declarations(paths), findings)
    if findings.failures:
        raise PolicyError(findings.sorted())
    return declared


def read_declarations(paths: Sequence[str]) -> dict[str, str]:
    """Give the text of every ``models.yaml`` under ``paths``, by file name."""
    files = [file for path in paths for file in _files(Path(path))]
    return {str(file): _text(file) for file in files if file.stem.endswith("models")}


def read_case_files(paths: Sequence[str]) -> dict[str, str]:
    """Give the text of every file of cases (``*_test.yaml``, ``*.test.yaml``) under ``paths``, by name."""
    return {str(file): _text(file) for path in paths for file in _files(Path(path)) if _holds_cases(file)}


def _holds_cases(file: Path) -> bool:
    return file.name.endswith(CASE_ENDINGS)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
    if not path.exists():
        raise WrongUsage(f"{path} does not exist")
    return [path]


def _text(file: Path) -> str:
    """Read a file; a byte that is no UTF-8 stays as a surrogate, and is a finding at its place."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
