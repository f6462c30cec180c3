"""The README's project runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
ASKED = """
from django.test import Client
assert Client().get("/orders/o-1").json() == {"state": None, "verdict": "permit"}
assert Client().get("/orders/o-1/payment").json() == {"number": "o-1"}
assert Client().get("/orders/o-1").json()["state"] == "paid"
"""


def test_the_project_runs(tmp_path):
    """The block of Python is a project that answers, without a warning."""
    script = tmp_path / "project.py"
    script.write_text("\n".join([*re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL), ASKED]))
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    env["MCP_SDK_FETCH_TIMEOUT"] = "5"
    subprocess.run([sys.executable, "-W", "error", script], check=True, cwd=tmp_path, timeout=60, env=env)
