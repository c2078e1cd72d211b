"""`reversalctl provision`: asks what a terminal's configuration needs, tries it, writes it, checks it.

Exit status: 0 written and checked; 1 not written (a trial failed, or the person said no); 65 refused or wrong answers.
"""

from __future__ import annotations

import argparse
import getpass
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent import config as settings
from agent import provision as room
from agent.cli_rooms import CommandLine
from agent.provision import ProvisionError
from agent.provision_questions import NO, QUESTIONS, YES, Answers, Question, check_answers
from agent.provision_trial import Seen, trial
from agent.removal import places, running
from agent.said import said
from agent.texts import Text

EXIT_NOT_DONE = 1
# Stands for a secret answer that the present configuration gives: Enter leaves it as it is.
KEPT = "***"

_WORDS: Mapping[str, Text] = {
    "welcome": Text(
        "A few questions; Enter takes what stands in [brackets]. Nothing is written before the end.",
        "请回答以下问题；直接回车采用[方括号]内的值。最后确认前不会写入任何内容。",
    ),
    "ports": Text("Ports seen here: {ports}", "本机端口：{ports}"),
    "no": Text("  not accepted: {why}", "  不接受：{why}"),
    "trying": Text("Trying it: devices and host ...", "正在测试：设备和主机……"),
    "passed": Text("  ok    {what}: {text}", "  正常  {what}：{text}"),
    "failed": Text("  FAIL  {what}: {text}", "  失败  {what}：{text}"),
    "despite": Text("Write it all the same (yes/no)", "仍然写入（yes/no）"),
    "write": Text("Write {path} (yes/no)", "写入 {path}（yes/no）"),
    "not-written": Text("Nothing was written.", "未写入任何内容。"),
    "kept": Text("The old configuration is now {path}", "原配置已保存为 {path}"),
    "key": Text(
        "A data key was made; keep a copy of it apart from this machine.", "已生成数据密钥；请在本机之外保存备份。"
    ),
    "written": Text(
        "Written: {path}. Now: systemctl restart reversald", "已写入：{path}。请执行：systemctl restart reversald"
    ),
    "runs": Text(
        "The agent runs: stop it first (systemctl stop reversald).",
        "服务正在运行：请先停止（systemctl stop reversald）。",
    ),
}

# What agent/provision_trial.py tries.
_TRIED: Mapping[str, Text] = {
    "daemon": Text("reversald", "reversald"),
    "reader": Text("reader", "读卡器"),
    "pinpad": Text("pinpad", "密码键盘"),
    "printer": Text("printer", "打印机"),
    "key": Text("MAC key", "MAC 密钥"),
    "host": Text("host", "主机"),
    "echo": Text("echo", "回响测试"),
    "sign-on": Text("sign-on", "签到"),
}


def add_commands(subparsers: argparse._SubParsersAction[Any], parents: Sequence[argparse.ArgumentParser] = ()) -> None:
    """The command of this file. `parents`: the general options."""
    text = "ask what this terminal's configuration needs, try it on devices and host, and write it"
    one = subparsers.add_parser("provision", help=text, description=text, parents=parents)
    one.set_defaults(action=provision)
    one.add_argument("--answers", type=Path, metavar="FILE", help="TOML with the answers instead of a dialogue")
    one.add_argument("--despite-failures", action="store_true", help="write it although a device or host fails")
    one.add_argument("--no-trial", action="store_true", help="do not try devices and host")


def provision(command: CommandLine) -> int:
    """The whole way."""
    target = command.place.configuration_file.absolute()
    there = _is_there(target)
    proposals = room.usual_answers(target) if there else {}
    if there and running(places(target)):
        raise ProvisionError(_say("runs", _language(command, {})), "reversalctl status")
    answers = _from_file(command) if command.options.answers else _dialogue(command, proposals)
    text = room.render(answers, *room.kept_places(target))
    draft = room.write_draft(text, target)
    try:
        settings.load(draft)
        room.refuse_unsafe(target, draft)
        if not _accepted(command, answers, target):
            print(_say("not-written", _language(command, answers)))
            return EXIT_NOT_DONE
    finally:
        draft.unlink(missing_ok=True)
    return _write(command, answers, text, target)


def _is_there(target: Path) -> bool:
    try:
        return target.exists()
    except PermissionError:
        raise ProvisionError(f"{target} is not for your eyes", "run this as root") from None


def _write(command: CommandLine, answers: Answers, text: str, target: Path) -> int:
    language = _language(command, answers)
    kept = room.put_in_place(text, target)
    if kept is not None:
        command.print(_say("kept", language, path=str(kept)))
    if room.make_key(target):
        command.print(_say("key", language))
    command.print(_say("written", language, path=str(target)))
    return _checked(target)


def _checked(target: Path) -> int:
    """`reversald --check-config` has the last word."""
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from agent.__main__ import main; sys.exit(main())"
    here = str(Path(__file__).parents[1])
    line = [sys.executable, "-c", program, here, "--check-config", "--config", str(target)]
    sys.stdout.flush()
    return subprocess.run(line, check=False).returncode


# --- answers -----------------------------------------------------------------------------------


def _from_file(command: CommandLine) -> Answers:
    path: Path = command.options.answers
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        told = (error.strerror or "") if isinstance(error, OSError) else "no TOML in UTF-8"
        raise ProvisionError(f"{path}: {told}", "reversalctl provision asks the same in a dialogue") from None
    answers, wrong = check_answers({name: _plain(value) for name, value in table.items()})
    if wrong:
        raise ProvisionError(f"{path}: " + "; ".join(wrong), "docs/deployment.md lists every answer")
    return answers


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return YES if value else NO
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _dialogue(command: CommandLine, proposals: Mapping[str, str]) -> Answers:
    answers: Answers = {}
    language = _language(command, answers)
    print(_say("welcome", language))
    for question in QUESTIONS:
        if question.name == "pinpad_port" and (ports := room.known_ports()):
            print(_say("ports", language, ports=" ".join(ports)))
        if question.wanted(answers):
            answers[question.name] = _asked(question, proposals.get(question.name, question.default), language)
        language = _language(command, answers)
    return answers


def _asked(question: Question, default: str, language: str) -> str:
    """Asks until the answer will do. "-" empties an optional answer that has a proposal."""
    choices = f" ({', '.join(question.choices)})" if question.choices else ""
    shown = f" [{KEPT if question.secret else default}]" if default else ""
    while True:
        answer = _line(f"{question.text.of(language)}{choices}{shown}: ", question.secret) or default
        if question.optional and answer == "-":
            answer = ""
        objection = question.objection(answer)
        if not objection:
            return answer
        print(_say("no", language, why=objection))


def _line(prompt: str, secret: bool = False) -> str:
    if secret and sys.stdin.isatty():
        return getpass.getpass(prompt).strip()
    print(prompt, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise ProvisionError("the answers ended before the questions", "nothing was written")
    return line.strip()


# --- the trial ---------------------------------------------------------------------------------


def _accepted(command: CommandLine, answers: Answers, target: Path) -> bool:
    """Whether it is to be written, after what the trial has shown."""
    language = _language(command, answers)
    failed = False
    if not command.options.no_trial:
        command.print(_say("trying", language))
        seen = trial(
            lambda state_dir, run_dir: room.render(answers, state_dir, run_dir), answers.get("mac_key_check", "")
        )
        failed = not all(one.passed for one in seen)
        for one in seen:
            command.print(_told(one, language))
    if command.options.answers:
        return not failed or bool(command.options.despite_failures)
    wish = _line(_say("despite" if failed else "write", language, path=str(target)) + " ")
    return wish.lower() in (YES, "y", "是")


def _told(one: Seen, language: str) -> str:
    what = f"{_TRIED[one.what].of(language)} {one.which}".strip()
    return _say("passed" if one.passed else "failed", language, what=what, text=said(one.text).of(language))


def _language(command: CommandLine, answers: Mapping[str, str]) -> str:
    return answers.get("language") or command.place.language()


def _say(name: str, language: str, **values: str) -> str:
    return _WORDS[name].of(language).format(**values)
