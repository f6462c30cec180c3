"""An environment for each engine that has packages of its own: some of them own modules of one name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["CannotInstall", "default_folder", "python_for"]

SHARED = ("opentelemetry-api>=1.30",)
"""What reading the project's own requests takes."""
TIMEOUT_S = 300


class CannotInstall(Exception):
    """An engine's packages are not to be had; the text says why."""


def default_folder() -> Path:
    """Give the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcp-sdk-benchmarks"


def python_for(packages: tuple[str, ...], folder: Path) -> str:
    """Give the interpreter of an environment that has the packages, made where it is missing."""
    if not packages:
        return sys.executable
    home = folder / re.sub(r"[^a-z0-9.]+", "-", f"{packages[0]}-py{sys.version_info.major}.{sys.version_info.minor}")
    python, done = home / "bin" / "python", home / "installed.txt"
    wanted = "\n".join((*packages, *SHARED))
    if not (done.exists() and done.read_text() == wanted):
        _install(home, python, [*packages, *SHARED])
        done.write_text(wanted)
    return str(python)


def _install(home: Path, python: Path, packages: list[str]) -> None:
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv:
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)])
        _run([uv, "pip", "install", "--quiet", "--python", str(python), *packages])
    else:
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        _run([str(python), "-m", "pip", "install", "--quiet", *packages])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        lines = [line.strip(" ╰─▶\N{MULTIPLICATION SIGN}│") for line in error.stderr.splitlines() if line.strip()]
        raise CannotInstall(f"cannot be installed: {(lines or [str(error)])[-1]}") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise CannotInstall(f"cannot be installed: {type(error).__name__}") from error
