"""``mcpctl completion``."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from mcp_sdk.cli import main


def printed(shell: str) -> str:
    """Give the script for a shell."""
    out = io.StringIO()
    assert main(["completion", shell], out, io.StringIO()) == 0
    return out.getvalue()


def completed(tmp_path: Path, *words: str) -> list[str]:
    """Complete the last word as bash does: by the function that is registered for the command."""
    script = tmp_path / "mcpctl.bash"
    script.write_text(printed("bash"))
    asked = f"""
source {script}
function_of=$(complete -p mcpctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$function_of
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", asked, "bash", "mcpctl", *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (("ro",), {"rollback"}),
        (("context", ""), {"get", "list", "watch", "forget"}),
        (("context", "watch", "order", "--c"), {"--count"}),
        (("policy", "che"), {"check"}),
        (("get", "order", "-o", ""), {"table", "json", "yaml"}),
        (("check", "--assume", ""), {"control-plane-down"}),
        (("create", "traffic-policy", "--ro"), {"--route-rules"}),
    ],
)
def test_bash_completes_verbs_options_and_values(tmp_path: Path, words: tuple[str, ...], holds: set[str]) -> None:
    """With its own machinery."""
    assert holds <= set(completed(tmp_path, *words))


def test_an_option_that_takes_any_value_completes_to_files(tmp_path: Path) -> None:
    """Which ``-o default`` does where the function gives nothing."""
    assert completed(tmp_path, "apply", "-s", "") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_verb(shell: str) -> None:
    """And are asked to read it where they are installed."""
    text = printed(shell)
    assert all(verb in text for verb in ("rollback", "context", "traffic-policy", "count"))
    if shutil.which(shell):
        subprocess.run([shell, "-n", "/dev/stdin"], input=text, text=True, check=True, timeout=30)
