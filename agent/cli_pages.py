"""Shell completion and man pages, printed from the argument parser: what it knows, they know.

`reversalctl completion bash|zsh` prints a completion; `python -m agent.cli_pages docs/man` writes the man pages, and a
test keeps them up to date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent import VERSION
from agent.cli_rooms import CommandLine

PROG = "reversalctl"
# The id of an item in a line of `list --json`, for sed.
_ID = """'s/^{"id": "\\([^"]*\\)".*/\\1/p'"""


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The command of this file. `parents`: the general options."""
    text = 'print a completion for the shell: eval "$(reversalctl completion bash)"'
    one = subparsers.add_parser("completion", help=text, description=text, parents=parents)
    one.set_defaults(action=completion)
    one.add_argument("shell", choices=("bash", "zsh"))


def completion(command: CommandLine) -> int:
    """For one shell."""
    from agent.cli import parser  # agent/cli.py loads this file: the other way round only on use

    top = parser()
    command.print(bash(top) if command.options.shell == "bash" else zsh(top))
    return 0


def commands(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command by name, those of commands too ("devices test"), in the order of the help."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                found[name] = one
                found |= {f"{name} {inner}": sub for inner, sub in commands(one).items()}
    return found


def options(one: argparse.ArgumentParser) -> list[str]:
    """The long options of one command."""
    return [text for action in one._actions for text in action.option_strings if text.startswith("--")]


def choices(one: argparse.ArgumentParser) -> list[str]:
    """What a command's positional arguments may be, where that is a list."""
    found: list[str] = []
    for action in one._actions:
        if not action.option_strings and action.choices:
            found += [str(choice) for choice in action.choices if choice]
    return found


# --- completion --------------------------------------------------------------------------------


def bash(top: argparse.ArgumentParser) -> str:
    """A function for bash: the first word is the command; then its options, its choices, and ids of open items."""
    known = {name: one for name, one in commands(top).items() if " " not in name}
    cases = [f"        {name}) words='{' '.join([*options(one), *choices(one)])}' ;;" for name, one in known.items()]
    return "\n".join(
        [
            f"# bash completion of {PROG} {VERSION}; printed by `{PROG} completion bash`",
            "_reversalctl() {",
            "    local word=${COMP_WORDS[COMP_CWORD]} one command='' words",
            '    for one in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            f"        case $one in {'|'.join(known)}) command=$one; break ;; esac",
            "    done",
            "    case $command in",
            f"        '') words='{' '.join([*known, *options(top)])}' ;;",
            *cases,
            "    esac",
            f"    case $command in {'|'.join(_with_ids(known))})",
            f'        words="$words $({PROG} --json list 2>/dev/null | sed -n {_ID})" ;;',
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            f"complete -o default -F _reversalctl {PROG}",
        ]
    )


def zsh(top: argparse.ArgumentParser) -> str:
    """The same for zsh, with a word about each command."""
    known = {name: one for name, one in commands(top).items() if " " not in name}
    told = [f"        '{name}:{_quoted(one.description or '')}'" for name, one in known.items()]
    cases = [f"        {name}) compadd -- {' '.join([*options(one), *choices(one)])} ;;" for name, one in known.items()]
    return "\n".join(
        [
            f"#compdef {PROG}",
            f"# zsh completion of {PROG} {VERSION}; printed by `{PROG} completion zsh`",
            "_reversalctl() {",
            "    local -a known",
            "    local one command=''",
            "    known=(",
            *told,
            "    )",
            '    for one in "${words[@]:1:CURRENT-2}"; do',
            f"        case $one in ({'|'.join(known)}) command=$one; break ;; esac",
            "    done",
            "    case $command in",
            f"        '') _describe command known; compadd -- {' '.join(options(top))} ;;",
            *cases,
            "    esac",
            "}",
            f"compdef _reversalctl {PROG}",
        ]
    )


def _with_ids(known: dict[str, argparse.ArgumentParser]) -> list[str]:
    return [name for name, one in known.items() if any(action.dest == "id" for action in one._actions)]


def _quoted(text: str) -> str:
    return text.replace("'", "'\\''").replace(":", "\\:")


# --- man pages ---------------------------------------------------------------------------------


def pages(top: argparse.ArgumentParser) -> dict[str, str]:
    """Each page by its file name: one for the command, one for each of its commands."""
    known = commands(top)
    found = {f"{PROG}.1": _page(PROG, top, {name: one for name, one in known.items() if " " not in name})}
    for name, one in known.items():
        if " " not in name:
            inner = {other: sub for other, sub in known.items() if other.startswith(f"{name} ")}
            found[f"{PROG}-{name}.1"] = _page(f"{PROG}-{name}", one, inner)
    return found


def _page(name: str, one: argparse.ArgumentParser, below: Mapping[str, argparse.ArgumentParser]) -> str:
    """`below`: its commands by name. Those of the command itself have pages of their own and are named there only."""
    text = one.description or ""
    lines = [
        f'.\\" Printed from the argument parser by agent/cli_pages.py; do not edit.\n.TH {_roff(name.upper())} 1 "" '
        f'"reversald {VERSION}" "Reversal agent"',
        f".SH NAME\n{_roff(name)} \\- {_roff(text)}",
        f".SH SYNOPSIS\n{_roff(_usage(one))}",
        f".SH DESCRIPTION\n{_roff(text)}",
        ".SH OPTIONS",
        *_options(one),
    ]
    top = name == PROG
    if below:
        lines.append(".SH COMMANDS")
    for label, sub in below.items():
        told = _roff(sub.description or "")
        lines += [f".TP\n.B {_roff(label)}\n{told}"] if top else [f".SS {_roff(label)}\n{told}", *_options(sub)]
    lines.append(
        ".SH EXIT STATUS\nChecks: 0 ok, 1 warning, 2 critical, 3 unknown. Errors as in sysexits.h: 64 wrong command "
        "line, 65 refused or no such item, 66 no input, 69 the agent does not run, 70 our own fault, 73 and 74 files, "
        "75 try again, 77 not allowed, 78 configuration."
    )
    others = [f"{PROG}-{label}" for label in below] if top else [PROG]
    lines.append(
        ".SH SEE ALSO\n" + ",\n".join(f"\\fB{_roff(other)}\\fR(1)" for other in others) + ",\n\\fBreversald\\fR(8)"
    )
    return "\n".join(lines) + "\n"


def _usage(one: argparse.ArgumentParser) -> str:
    return re.sub(r"\s+", " ", one.format_usage().removeprefix("usage: ")).strip()


def _options(one: argparse.ArgumentParser) -> Iterator[str]:
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = f" {action.metavar}" if action.option_strings and action.metavar else ""
        about = action.help or (", ".join(map(str, action.choices)) if action.choices else "")
        yield f".TP\n.B {_roff(names + value)}\n{_roff(about % {'prog': PROG} if '%(prog)' in about else about)}"


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main() -> int:
    """Writes the man pages into the directory that is named."""
    from agent.cli import parser  # as above

    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages(parser()).items():
        (target / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
