"""The README's code runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from redis_servers import erase
from services import redis

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.services
def test_every_block_runs(tmp_path):
    """The blocks of Python make one script, which runs without a warning."""
    url = redis()
    script = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
    try:
        subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=tmp_path, timeout=60)
    finally:
        with Redis.from_url(url) as client:
            erase(client, "readme")
