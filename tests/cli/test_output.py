"""What is shown to people: text of others does nothing to a terminal."""

from __future__ import annotations

import io

from mcp_sdk.cli.output import Output


def test_text_of_others_commands_no_terminal() -> None:
    """Ids, states and reasons are whatever a caller said: what would clear the screen or forge a line is spelled."""
    out, err = io.StringIO(), io.StringIO()
    output = Output(out, err)
    output.table(["id", "state"], [["\x1b[2Jo-1", "paid\nforged  row"], ["\u202eo-2", "\x9b31m"]])
    output.line("a\x1b]0;title\x07\nb")
    output.say("c\rd")
    assert out.getvalue().splitlines()[1:] == [
        r"\x1b[2Jo-1  paid\nforged  row",
        r"\u202eo-2   \x9b31m",
        r"a\x1b]0;title\x07",
        "b",
    ]
    assert err.getvalue() == "c\\rd\n"
