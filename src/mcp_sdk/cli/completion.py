"""``mcpctl completion``: what a shell needs to complete verbs and options, made from the parsers themselves."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_sdk.cli.command import OK, Command
from mcp_sdk.cli.output import Output

__all__ = ["COMMAND", "Words", "words_of"]


@dataclass(frozen=True)
class Words:
    """What may come behind a path of verbs: verbs and options with their summaries, and the values of options.

    ``values`` maps an option to its choices; to nothing where it takes any value, such as a file.
    """

    path: str
    verbs: Mapping[str, str]
    options: Mapping[str, str]
    values: Mapping[str, tuple[str, ...]]


def words_of(parser: ArgumentParser, path: str = "") -> Iterator[Words]:
    """Yield the words of a parser and of every parser below it."""
    verbs: dict[str, ArgumentParser] = {}
    summaries: dict[str, str] = {}
    options: dict[str, str] = {}
    values: dict[str, tuple[str, ...]] = {}
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way
        if isinstance(action, _SubParsersAction):
            verbs |= action.choices
            summaries |= {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001 - as above
        for name in action.option_strings:
            options[name] = (action.help or "").split("\n")[0]
            if action.nargs != 0:
                values[name] = tuple(map(str, action.choices or ()))
    yield Words(path, {name: summaries.get(name, "") for name in verbs}, options, values)
    for name, below in verbs.items():
        yield from words_of(below, f"{path} {name}".strip())


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(_SHELLS), metavar="SHELL", help="bash, zsh or fish")


def _run(args: Namespace, output: Output) -> int:
    from mcp_sdk.cli.main import parser_of_all  # noqa: PLC0415 - the main flow imports verbs by name, not we it

    output.line(_SHELLS[args.shell](list(words_of(parser_of_all(output)))).rstrip())
    return OK


def _bash(found: list[Words]) -> str:
    known = "|".join(shlex.quote(words.path) for words in found if words.path)
    cases = "\n".join(f"    {shlex.quote(words.path)}) words={shlex.quote(_said(words))} ;;" for words in found)
    return f"""\
_mcpctl() {{
  local cur prev path word words index
  cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} path=
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="${{path:+$path }}${{COMP_WORDS[index]}}"
    case $word in {known}) path=$word ;; esac
  done
  case "$path $prev" in
{_bash_values(found)}
  esac
  case $path in
{cases}
    *) return ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _mcpctl mcpctl
"""


def _bash_values(found: list[Words]) -> str:
    lines = []
    for words in found:
        for option, choices in words.values.items():
            made = (
                f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(choices))} -- "$cur"))' if choices else "COMPREPLY=()"
            )
            lines.append(f"    {shlex.quote(f'{words.path} {option}')}) {made}; return ;;")
    return "\n".join(lines)


def _said(words: Words) -> str:
    return " ".join([*words.verbs, *words.options])


def _zsh(found: list[Words]) -> str:
    known = "|".join(_zsh_pattern(words.path) for words in found if words.path)
    cases = "\n".join(_zsh_case(words) for words in found)
    values = "\n".join(_zsh_values(words) for words in found if words.values)
    return f"""\
#compdef mcpctl
_mcpctl() {{
  local cur_path= word index
  local -a found
  for ((index = 2; index < CURRENT; index++)); do
    word="${{cur_path:+$cur_path }}${{words[index]}}"
    case $word in ({known}) cur_path=$word ;; esac
  done
  case "$cur_path ${{words[CURRENT-1]}}" in
{values}
  esac
  case $cur_path in
{cases}
  esac
  _describe mcpctl found || _files
}}
if [ "$funcstack[1]" = _mcpctl ]; then _mcpctl "$@"; else compdef _mcpctl mcpctl; fi
"""


def _zsh_pattern(path: str) -> str:
    return path.replace(" ", "\\ ")


def _zsh_case(words: Words) -> str:
    told = {**words.verbs, **words.options}
    items = " ".join(shlex.quote(f"{name}:{_plainly(summary)}") for name, summary in told.items())
    return f"    ({_zsh_pattern(words.path) or chr(39) * 2}) found=({items}) ;;"


def _zsh_values(words: Words) -> str:
    lines = []
    for option, choices in words.values.items():
        made = f"compadd -- {' '.join(map(shlex.quote, choices))}" if choices else "_files"
        lines.append(f"    ({_zsh_pattern(f'{words.path} {option}')}) {made}; return ;;")
    return "\n".join(lines)


def _plainly(summary: str) -> str:
    return summary.replace(":", ";")


def _fish(found: list[Words]) -> str:
    paths = " ".join(shlex.quote(words.path) for words in found if words.path)
    lines = [_FISH.replace("@paths@", paths)]
    for words in found:
        at = f"-n '_mcpctl_at \"{words.path}\"'"
        for name, summary in words.verbs.items():
            lines.append(f"complete -c mcpctl -f {at} -a {name} -d {_fish_quoted(summary)}")
        for name, summary in words.options.items():
            lines.append(f"complete -c mcpctl {at} {_fish_option(name, words)} -d {_fish_quoted(summary)}")
    return "\n".join(lines)


_FISH = """\
function _mcpctl_at
  set -l at
  for word in (commandline -opc)[2..]
    set -l next (string trim "$at $word")
    contains -- $next @paths@; and set at $next
  end
  test "$at" = "$argv[1]"
end"""


def _fish_option(name: str, words: Words) -> str:
    kind = "-l" if name.startswith("--") else "-s"
    said = f"{kind} {name.lstrip('-')}"
    if name not in words.values:
        return said
    choices = words.values[name]
    return f"{said} -x -a {_fish_quoted(' '.join(choices))}" if choices else f"{said} -r"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SHELLS: Mapping[str, Callable[[list[Words]], Any]] = {"bash": _bash, "fish": _fish, "zsh": _zsh}

COMMAND = Command(
    name="completion",
    summary="print what a shell needs to complete verbs and options",
    description="""\
Print what a shell needs to complete verbs and options, of the verbs that are
installed now.

  mcpctl completion bash > ~/.local/share/bash-completion/completions/mcpctl
  mcpctl completion zsh > "${fpath[1]}/_mcpctl"
  mcpctl completion fish > ~/.config/fish/completions/mcpctl.fish
""",
    configure=_configure,
    run=_run,
)
