"""`reversalctl keys list|check|rotate|destroy|wrap|unwrap|copy`: the data keys that seal card data in the journal.

With a running agent it is done by the agent, pending items included. Without one, all but `destroy` work on the key
file alone: what is pending stays readable with the old key. `destroy` needs the running agent, which knows what is
still needed. `copy` is never the agent's: no key leaves it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent import config as settings
from agent.cli_place import CommandError
from agent.cli_rooms import CommandLine
from agent.key_sources import open_vault
from agent.vault import Vault

# A program wraps and unwraps within keys.wrapping's timeout_s each, at most 30 s, and others may be before us.
DEADLINE_S = 120.0
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
    "under": ("wrapped under {source}", "由 {source} 封装"),
    "in-clear": ("the key file is in clear", "密钥文件为明文"),
    "wanted": (
        "not as configured: {source}; reversalctl keys wrap",
        "与配置不符：{source}；请执行 reversalctl keys wrap",
    ),
    "problem": ("the next start would fail: {problem}", "下次启动将失败：{problem}"),
    "reached": ("the next start can open them", "下次启动可以解开"),
    "was-clear": (
        "they lay in clear until now, and flash may keep that: reversalctl keys rotate, a day later keys destroy",
        "此前为明文，闪存中可能仍有残留：请执行 reversalctl keys rotate，一天后执行 keys destroy",
    ),
    "copied": (
        "{path} holds the data keys in clear: put it into the safe, then delete it here",
        "{path} 中是明文数据密钥：请放入保险柜，并删除本机上的文件",
    ),
    "gone": ("destroyed: {ids}; pending items sealed anew: {count}", "已销毁：{ids}；重新加密：{count} 笔"),
    "none": ("there is no old key", "没有旧密钥"),
}


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The commands of this file. `parents`: the general options."""
    text = "the keys that seal card data: list, rotate, destroy old ones, wrap them"
    keys: argparse.ArgumentParser = subparsers.add_parser("keys", help=text, description=text, parents=list(parents))
    actions = keys.add_subparsers(dest="keys_action", metavar="ACTION", required=True)

    def add(name: str, action: Callable[[CommandLine], int], help_text: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = actions.add_parser(
            name, help=help_text, description=help_text, parents=list(parents)
        )
        one.set_defaults(action=action, deadline_s=DEADLINE_S)
        return one

    add("list", show, "ids and what each key does; never a key")
    add("rotate", rotate, "a new key seals from now on; nothing becomes unreadable")
    destroy_parser = add("destroy", destroy, "old keys go, and with them the card data of ended items")
    destroy_parser.add_argument("--now", action="store_true", help="although the new key is younger than a day")
    add("check", check, "can the next start open them? asks what they are wrapped under")
    add("wrap", wrap, "write the same keys anew, wrapped as the configuration says")
    add("unwrap", unwrap, "write the same keys anew, in clear")
    copy_parser = add("copy", copy, "a copy of the keys in clear, for the safe; only who may read the key file can")
    copy_parser.add_argument("target", type=Path, metavar="FILE", help="a new file; mode 0600")


def show(command: CommandLine) -> int:
    """Every key, and what they are wrapped under."""
    try:
        told = command.call("keys.list")
    except CommandError as error:
        vault = _offline(command, error)
        keys = [{"id": key_id, "state": state} for key_id, state in vault.keys().items()]
        told = {"keys": keys, "wrapping": _wrapping(vault)}
    if command.options.json:
        wrapped = any(told["wrapping"][name] for name in ("under", "wanted"))
        lines = [*told["keys"], *([{"wrapping": told["wrapping"]}] if wrapped else [])]
        command.print("\n".join(map(json.dumps, lines)))
        return 0
    for key in told["keys"]:
        _say(command, key["state"], id=key["id"])
    _say_wrapping(command, told["wrapping"])
    return 0


def check(command: CommandLine) -> int:
    """Whether the next start could open them: 0, or 1 with the reason."""
    try:
        told = command.call("keys.check")
    except CommandError as error:
        told = _wrapping(_offline(command, error))
    if command.options.json:
        command.print(json.dumps(told))
    else:
        _say_wrapping(command, told)
        if not told["problem"]:
            _say(command, "reached")
    return 1 if told["problem"] else 0


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


def wrap(command: CommandLine) -> int:
    """The same keys, wrapped."""
    try:
        before = command.call("keys.list")["wrapping"]
        told = command.call("keys.wrap")
    except CommandError as error:
        vault = _offline(command, error)
        before = _wrapping(vault)
        vault.wrap()
        told = _wrapping(vault)
    if command.options.json:
        command.print(json.dumps(told))
        return 0
    _say_wrapping(command, told)
    if not before["under"]:
        _say(command, "was-clear")
    return 0


def unwrap(command: CommandLine) -> int:
    """The same keys, in clear."""
    try:
        told = command.call("keys.unwrap")
    except CommandError as error:
        vault = _offline(command, error)
        vault.unwrap()
        told = _wrapping(vault)
    if command.options.json:
        command.print(json.dumps(told))
    else:
        _say_wrapping(command, told)
    return 0


def copy(command: CommandLine) -> int:
    """A copy in clear, made here and not by the agent."""
    target: Path = command.options.target.absolute()
    open_vault(settings.load(command.place.configuration_file).keys).copy_keys(target)
    if command.options.json:
        command.print(json.dumps({"path": str(target)}))
    else:
        _say(command, "copied", path=str(target))
    return 0


def _wrapping(vault: Vault) -> dict[str, Any]:
    """As the agent tells it (agent/keys.py); the vault has just been opened."""
    return {"under": vault.wrapped_under, "wanted": vault.wraps_under, "reached": True, "problem": ""}


def _say_wrapping(command: CommandLine, told: dict[str, Any]) -> None:
    from agent.said import said  # the catalogue: only where something is shown in words

    def shown(text: str) -> str:
        return said(text).of(command.language)

    if told["under"] or told["wanted"]:
        _say(command, "under" if told["under"] else "in-clear", source=shown(told["under"]))
    if told["wanted"] and told["under"] != told["wanted"]:
        _say(command, "wanted", source=shown(told["wanted"]))
    if told["problem"]:
        _say(command, "problem", problem=shown(told["problem"]))


def _offline(command: CommandLine, error: CommandError) -> Vault:
    """The key file itself, where no agent answers; what the agent refused stays refused."""
    if error.code != "C-NO-DAEMON":
        raise error
    return open_vault(settings.load(command.place.configuration_file).keys)


def _say(command: CommandLine, name: str, **values: str) -> None:
    command.print(_WORDS[name][command.language == "zh"].format(**values))
