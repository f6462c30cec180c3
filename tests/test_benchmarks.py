"""The benchmark of the policy engines: its rows, and its refusal to time an engine that answers wrongly."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("cel_expr_python")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def engines(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: import_module(f"policy_engines.{name}")


def run(*args):
    command = [sys.executable, str(BENCHMARKS / "policy.py"), "--quick", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_each_cell_is_a_row_with_its_ratio_to_the_floor_of_the_same_process(tmp_path):
    """Each engine, shape and size gives a row of figures, after its answers were held to the data."""
    rows_file, chart = tmp_path / "rows.json", tmp_path / "chart.svg"
    done = run(
        *("--n", "10", "--shape", "eq", "range", "--engines", "ours", "floor"),
        *("--json", str(rows_file), "--svg", str(chart)),
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(rows_file.read_text())
    cells = [(row["engine"], row["shape"], row["n"]) for row in rows]
    assert cells == [(engine, shape, 10) for engine in ("ours", "floor") for shape in ("eq", "range")]
    for row in rows:
        assert all(isinstance(row[name], float) for name in ("hit_us", "miss_us", "ratio", "load_s", "rss_mb"))
        assert row["checked"] >= 8
    assert {"decide_us", "decide_p99_us"} <= rows[0].keys()
    assert "| eq | ours | " in done.stdout
    assert chart.read_text().startswith("<svg ")


def test_a_set_is_written_as_the_compiler_writes_it(engines, monkeypatch):
    """Programs whose middle was not compiled rule by rule equal the compiled ones, byte for byte."""
    programs, rules = engines("programs"), engines("rules")
    for shape, count in {"eq": 230, **dict.fromkeys(("attr", "in", "prefix", "range", "mixed"), 60)}.items():
        ordered = rules.rules(shape, count).rules
        whole = programs.programs(ordered)
        with monkeypatch.context() as patch:
            patch.setattr(programs, "COMPILED", count // 2)
            assert programs.programs(ordered) == whole


def test_an_engine_that_answers_wrongly_is_not_timed(tmp_path):
    """Rules that are not those of the data are noticed before the clock starts."""
    job = {"engine": "floor", "shape": "eq", "n": 40, "folder": str(tmp_path), "quick": True}
    child(job | {"work": "write"})
    written = tmp_path / "rules.txt"
    written.write_text(written.read_text().replace('"r7"', '"r8"'))
    answer = child(job | {"work": "measure"})
    assert answer["error"].startswith("WrongAnswer: floor")
    assert "gives r8" in answer["error"]


def child(job):
    command = [sys.executable, "-m", "policy_engines.child", json.dumps(job)]
    paths = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent / "src")])
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env={**os.environ, "PYTHONPATH": paths}
    )
    return json.loads(done.stdout)


def test_an_engine_that_cannot_be_installed_is_in_the_table_with_the_reason(tmp_path, engines):
    """A peer whose packages are not to be had gives rows without figures, which say why."""
    cells, registry = engines("cells"), engines("registry")
    source = registry.Source("cedar", "Cedar", ("no-such-package-of-mcp-sdk==0.0.1",))
    (tmp_path / "file").write_text("")
    plan = cells.Plan(["cedar"], ["eq"], [10], tmp_path / "file" / "envs", 1.0, quick=True)
    (row,) = cells.rows(plan, {"cedar": source})
    assert row["hit_us"] is None
    assert "cannot be installed" in row["note"]
