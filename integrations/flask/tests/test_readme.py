"""The README's application runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
ASKED = """
client = create_app().test_client()
assert client.get("/orders/o-1").json == {"number": "o-1", "state": None, "verdict": "permit"}
assert client.post("/orders/o-1/payment").text == "thanks"
assert client.get("/orders/o-1").json["state"] == "paid"
"""


def test_the_application_runs(tmp_path):
    """The block of Python is an application that answers, without a warning."""
    script = "\n".join([*re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL), ASKED])
    env = {**os.environ, "MCP_SDK_FETCH_TIMEOUT": "5"}
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=tmp_path, timeout=60, env=env)
