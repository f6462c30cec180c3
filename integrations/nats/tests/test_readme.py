"""The README's code runs as it stands, on a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from nats_servers import remove, shared

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.services
def test_every_block_runs(tmp_path):
    """The blocks of Python make one script, which runs without a warning, on a mesh that is taken away afterwards."""
    host, port = shared()
    script = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
    try:
        subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=tmp_path, timeout=60)
    finally:
        remove(f"nats://{host}:{port}", "readme")
