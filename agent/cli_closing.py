"""`reversalctl settle`, `confirm` and `form`: closing an item by hand, a second word, paper for the bank."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.cli_items import show_text
from agent.cli_place import CommandError
from agent.cli_rooms import CommandLine
from agent.texts_operations import phrase


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The commands of this file. `parents`: the general options."""

    def add(name: str, action: Any, text: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text, parents=parents)
        one.set_defaults(action=action)
        one.add_argument("id", metavar="ID")
        return one

    closing = add("settle", settle, "ask to close an item with the bank's evidence; the only way to close by hand")
    closing.add_argument("--reason", required=True, metavar="TEXT", help="what the bank did")
    closing.add_argument("--bank-reference", required=True, metavar="NUMBER", help="the bank's number for it")
    second = add("confirm", confirm, "the second person's word on a settle, or the bank's code for it")
    second.add_argument("code", nargs="?", default="", metavar="CODE", help="what settle has shown")
    second.add_argument("--bank-code", default="", metavar="ANSWER", help="the bank's answer to that code")
    paper = add("form", form, "the form for the bank's manual adjustment, as HTML to print")
    paper.add_argument("--output", type=Path, metavar="FILE", help="where to write it (adjustment-ID.html)")


def settle(command: CommandLine) -> int:
    """Ask; where one person may close, it is closed."""
    given = command.options
    answer = command.call("reversal.settle", id=given.id, reason=given.reason, bank_reference=given.bank_reference)
    return _told(command, answer)


def confirm(command: CommandLine) -> int:
    """The second word."""
    given = command.options
    params = {"bank_code": given.bank_code} if given.bank_code else {"code": given.code}
    return _told(command, command.call("reversal.confirm", id=given.id, **params))


def form(command: CommandLine) -> int:
    """The form for the bank."""
    from agent.adjustment_form import form as page  # only here
    from agent.loop import Clock

    given = command.options
    item = command.call("reversal.show", id=given.id)
    target = given.output or Path(f"adjustment-{given.id}.html")
    try:
        target.write_text(page(item, Clock().now().at_utc), encoding="utf-8")
    except OSError as error:
        raise CommandError("C-CANNOT-WRITE", path=str(target), problem=error.strerror or "") from None
    path = str(target.absolute())
    command.print(_json({"path": path}) if given.json else phrase("form-written", command.language, path=path))
    return 0


def _told(command: CommandLine, answer: Mapping[str, Any]) -> int:
    if command.options.json:
        command.print(_json(answer))
        return 0
    lines = _challenge(answer, command.language) if "challenge" in answer else []
    lines += [phrase("settle-evidence", command.language, path=path) for path in answer.get("evidence", ())[:1]]
    shown = show_text(answer["item"], command.language)
    command.print("\n".join([shown, *lines]) if "challenge" not in answer else "\n".join(lines))
    return 0


def _challenge(answer: Mapping[str, Any], language: str) -> list[str]:
    values = {
        "id": answer["item"]["id"],
        "code": answer["challenge"],
        "minutes": str(max(1, int(answer["expires_s"]) // 60)),
    }
    names = ["settle-challenge", "settle-second", *(["settle-bank"] if answer["bank_code_possible"] else [])]
    return [phrase(name, language, **values) for name in names]


def _json(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)
