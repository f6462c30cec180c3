"""The README's code runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_every_block_runs(tmp_path):
    """The blocks of Python make one application, which answers without a warning."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    script = "\n".join([*blocks, "assert create_app().test_client().get('/orders/o-1').json['verdict'] == 'permit'"])
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=tmp_path, timeout=60)
