"""The README's application runs as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def shop(monkeypatch, tmp_path):
    """Give the module that the blocks of Python make."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MCP_SDK_FETCH_TIMEOUT", "5")
    module = ModuleType("readme_shop")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile("\n".join(blocks), str(README), "exec", dont_inherit=True), vars(module))
    return module


def test_the_application_runs(shop, serve):
    """The blocks of Python are an application that answers under uvicorn."""
    with serve(shop.app) as client:
        assert client.get("/orders/o-1").json() == {"number": "o-1", "state": None}
        assert client.post("/orders/o-1/payment").status_code == 200
        assert client.get("/orders/o-1").json() == {"number": "o-1", "state": "paid"}
        assert client.post("/refunds", headers={"x-token": "ann"}).status_code == 200
