"""`reversalctl keys list|rotate|destroy`: the data keys that seal card data in the journal.

With a running agent it is done by the agent, pending items included. Without one, `list` and `rotate` work on the
key file alone: what is pending stays readable with the old key. `destroy` needs the running agent, which knows what
is still needed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

from agent import config as settings
from agent.cli_place import CommandError
from agent.cli_rooms import CommandLine
from agent.vault import Vault

_WORDS = {
    "seals": ("{id}  seals what is stored now", "{id}  当前加密密钥"),
    "opens": ("{id}  opens what it sealed before", "{id}  仅用于解密旧数据"),
    "destroyed": ("{id}  destroyed", "{id}  已销毁"),
    "rotated": (
        "key {key_id} seals from now on; pending items sealed anew: {count}",
        "新密钥 {key_id} 已启用；重新加密：{count} 笔",
    ),
    "offline": (
        "the agent does not run: pending items stay readable with the old key until `keys destroy`",
        "服务未运行：待处理交易仍由旧密钥加密，直至执行 keys destroy",
    ),
    "gone": ("destroyed: {ids}; pending items sealed anew: {count}", "已销毁：{ids}；重新加密：{count} 笔"),
    "none": ("there is no old key", "没有旧密钥"),
}


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The commands of this file. `parents`: the general options."""
    text = "the keys that seal card data: list, rotate, destroy old ones"
    keys: argparse.ArgumentParser = subparsers.add_parser("keys", help=text, description=text, parents=list(parents))
    actions = keys.add_subparsers(dest="keys_action", metavar="ACTION", required=True)

    def add(name: str, action: Callable[[CommandLine], int], help_text: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = actions.add_parser(
            name, help=help_text, description=help_text, parents=list(parents)
        )
        one.set_defaults(action=action)
        return one

    add("list", show, "ids and what each key does; never a key")
    add("rotate", rotate, "a new key seals from now on; nothing becomes unreadable")
    destroy_parser = add("destroy", destroy, "old keys go, and with them the card data of ended items")
    destroy_parser.add_argument("--now", action="store_true", help="although the new key is younger than a day")


def show(command: CommandLine) -> int:
    """Every key."""
    try:
        keys = command.call("keys.list")["keys"]
    except CommandError as error:
        keys = [{"id": key_id, "state": state} for key_id, state in _offline(command, error).keys().items()]
    if command.options.json:
        command.print("\n".join(json.dumps(key) for key in keys))
        return 0
    for key in keys:
        _say(command, key["state"], id=key["id"])
    return 0


def rotate(command: CommandLine) -> int:
    """A new key."""
    try:
        done = command.call("keys.rotate")
    except CommandError as error:
        done = {"key_id": _offline(command, error).rotate(), "sealed_anew": 0, "offline": True}
    if command.options.json:
        command.print(json.dumps(done))
        return 0
    _say(command, "rotated", key_id=done["key_id"], count=str(done["sealed_anew"]))
    if "offline" in done:
        _say(command, "offline")
    return 0


def destroy(command: CommandLine) -> int:
    """Old keys go. Only the running agent knows what needs them."""
    done = command.call("keys.destroy", now=command.options.now)
    if command.options.json:
        command.print(json.dumps(done))
    elif done["destroyed"]:
        _say(command, "gone", ids=", ".join(done["destroyed"]), count=str(done["sealed_anew"]))
    else:
        _say(command, "none")
    return 0


def _offline(command: CommandLine, error: CommandError) -> Vault:
    """The key file itself, where no agent answers; what the agent refused stays refused."""
    if error.code != "C-NO-DAEMON":
        raise error
    return Vault.open(settings.load(command.place.configuration_file).keys.data_key_file)


def _say(command: CommandLine, name: str, **values: str) -> None:
    command.print(_WORDS[name][command.language == "zh"].format(**values))
