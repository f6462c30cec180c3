"""The pages against the code: what they list is what there is."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from mcp_sdk.config import PREFIX, Config
from mcp_sdk.exceptions import MeshError
from mcp_sdk.policy.findings import CODES, MEND, severity_of

DOCS = Path(__file__).parents[1]
PAGES = sorted(path for path in DOCS.rglob("*.md") if "decisions" not in path.parts and path.name != "benchmarks.md")
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \|", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([^)\s]+))?\)")
CODE = re.compile(r"```.*?```", re.DOTALL)


def page(name: str) -> str:
    return (DOCS / name).read_text()


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_configuration_lists_every_setting() -> None:
    """The table holds exactly the fields of ``Config``, in order, each under its variable."""
    listed = [(name, variable) for name, variable, _ in ROW.findall(page("configuration.md"))]
    assert listed == [(spec.name, PREFIX + spec.name.upper()) for spec in fields(Config)]


def test_configuration_tells_the_defaults() -> None:
    """A default that is written as code is the field's."""
    written = {name: default for name, _, default in ROW.findall(page("configuration.md"))}
    for spec in fields(Config):
        if spec.default not in (MISSING, "", ()) and written[spec.name].startswith("`"):
            shown = "0" if spec.default is False else str(spec.default)
            assert written[spec.name] == f"`{shown}`", spec.name


def test_policy_check_lists_every_finding() -> None:
    """Each code of a finding stands in the table with its severity, its meaning and how to mend it."""
    listed = re.findall(r"^\| (MCP\d+) \| (\w+) \| (.*) \| (.*) \|$", page("policy-check.md"), re.MULTILINE)
    assert listed == [(code, severity_of(code), says, MEND[code]) for code, says in CODES.items()]


def test_errors_shows_the_whole_family() -> None:
    """Every error that can be caught is on the page."""
    family, waiting = set(), [MeshError]
    while waiting:
        waiting += (kind := waiting.pop()).__subclasses__()
        if kind.__module__.startswith("mcp_sdk."):
            family.add(kind.__name__)
    assert family <= set(re.findall(r"\w+", page("errors.md")))


def test_every_verb_has_a_section() -> None:
    """``cli.md`` shows each verb of ``mcpctl``."""
    verbs = {entry.name for entry in entry_points(group="mcp_sdk.commands")}
    assert verbs <= set(re.findall(r"^## `mcpctl ([\w-]+)", page("cli.md"), re.MULTILINE))


def test_every_verb_has_an_example() -> None:
    """A session of it, in its section."""
    sections = re.split(r"^## `mcpctl ", page("cli.md"), flags=re.MULTILINE)[1:]
    names = {text.partition("`")[0].split()[0]: text for text in sections}
    shown = {name for name, text in names.items() if any(f"mcpctl {name}" in code for code in CODE.findall(text))}
    assert shown == set(names)


def test_the_index_leads_to_every_page() -> None:
    """No page is out of reach."""
    linked = {(DOCS / target).resolve() for target, _ in LINK.findall(page("index.md")) if target}
    assert [path for path in PAGES if path.name != "index.md" and path not in linked] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link names a file that is there, and a heading that is in it."""
    for target, heading in LINK.findall(CODE.sub("", path.read_text())):
        if "://" in target:
            continue
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), target
        if heading and file.suffix == ".md":
            assert heading in map(anchor, re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)), (
                f"{target}#{heading}"
            )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_lines_are_short(path: Path) -> None:
    """Prose keeps to 130 characters; tables and what programs print may be longer."""
    prose = CODE.sub("", path.read_text()).splitlines()
    assert [line for line in prose if len(line) > 130 and not line.startswith(("|", "    "))] == []
