"""Type checkers see through the decorators."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_captured_functions_keep_their_types(tmp_path: Path) -> None:
    """mypy, strict: signatures survive, wrong calls and options are errors; an ignore too many is one as well."""
    api = pytest.importorskip("mypy.api")
    options = [
        "--strict",
        "--warn-unused-ignores",
        "--no-incremental",
        "--cache-dir",
        str(tmp_path),
        "--no-error-summary",
    ]
    out, _, status = api.run([*options, "--follow-imports", "silent", str(HERE / "typing" / "captured.py")])
    assert (out, status) == ("", 0)
