"""`reversalctl explain`, `profile` and `replay`: arguments to one call each, errors to a sentence and an exit status.

`add_commands(subparsers)` hooks them in; each sets `run(options) -> int`. The general options (--language, --json,
--config) may come from the caller's own parser: what is missing has a default here.

Exit status (sysexits.h): 0 fine, 64 usage, 65 damaged bytes, 66 no such file, 73 cannot write, 78 wrong profile.
Only OSError of standard output leaves `run`: the caller knows what a closed pipe means.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.cli_place import Place
from protocol.errors import AgentError, ProfileError

EX_OK, EX_DATAERR, EX_NOINPUT, EX_CANTCREAT, EX_CONFIG = 0, 65, 66, 73, 78

_TEXT_BYTES_MAX = 2 * 1024 * 1024  # of a dump; captures have a limit of their own


class InputError(AgentError):
    """A file or argument cannot be used; `exit_status` as in sysexits.h."""

    code = "E-INPUT"

    def __init__(self, text: str, text_zh: str, exit_status: int = EX_NOINPUT) -> None:
        super().__init__(text)
        self.text_zh = text_zh
        self.exit_status = exit_status


def add_commands(subparsers: Any) -> None:
    """Adds the three commands to what `add_subparsers()` gave."""
    _add_explain(subparsers)
    _add_profile(subparsers)
    _add_replay(subparsers)


def _add_explain(subparsers: Any) -> None:
    text = "every byte of a message in words; damaged bytes are pointed at; card data is masked"
    one = subparsers.add_parser("explain", help=text, description=text)
    one.add_argument(
        "dump", nargs="*", metavar="HEX|FILE|-", help="a hex dump (any usual form), a file that holds one, - for stdin"
    )
    one.add_argument("--item", metavar="ID", help="the frozen reversal of an item of the running agent")
    one.add_argument("--journal", type=Path, metavar="COPY", help="with --item: out of a copy (`reversalctl export`)")
    _add_profile_option(one, "auto")
    _finish(one, explain)


def _add_profile(subparsers: Any) -> None:
    text = "host profiles: check one, list them, print the certification kit"
    group = subparsers.add_parser("profile", help=text, description=text)
    actions = group.add_subparsers(dest="profile_action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="every error of a profile file with its line")
    check.add_argument("file", type=Path, metavar="FILE")
    _finish(check, profile_check)
    _finish(actions.add_parser("list", help="the profiles that can be named"), profile_list)
    kit = actions.add_parser("examples", help="the certification kit: exact bytes and explanation of each case")
    kit.add_argument("name", metavar="NAME|FILE")
    kit.add_argument("--out", type=Path, metavar="DIR", help="write one .bin and one .txt for each case")
    _finish(kit, profile_examples)


def _add_replay(subparsers: Any) -> None:
    text = "a recorded conversation as a ladder, with what the agent would have decided at each step"
    one = subparsers.add_parser("replay", help=text, description=text)
    one.add_argument("file", metavar="FILE|-", help="pcap, pcapng, or a text with lines `[time] > HEX` and `< HEX`")
    one.add_argument(
        "--host-port", type=int, default=0, metavar="PORT", help="which side is the host (else: the called)"
    )
    one.add_argument("--profile", required=True, metavar="NAME")
    _finish(one, replay)


def _add_profile_option(one: argparse.ArgumentParser, default: str) -> None:
    one.add_argument("--profile", default=default, metavar="NAME|auto", help="auto: say which profiles fit")


def _finish(one: argparse.ArgumentParser, action: Callable[[argparse.Namespace], int]) -> None:
    """The options of all, and the action behind the wall that turns errors into sentences."""
    one.add_argument("--profile-dir", type=Path, action="append", default=[], metavar="DIR", help="more profiles")
    one.add_argument("--language", choices=("en", "zh"), default=argparse.SUPPRESS)
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="for machines")
    one.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS)
    one.set_defaults(run=lambda options: _guarded(action, options))


def _guarded(action: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return action(options)
    except AgentError as error:
        return _complain(error, _status_of(error), options)
    except OSError as error:
        if error.filename is None:
            raise  # standard output: the caller knows what a closed pipe means
        name, reason = str(error.filename), error.strerror or "?"
        told = InputError(f"{name}: {reason}", f"{name}：{reason}", EX_CANTCREAT if _writes(options) else EX_NOINPUT)
        return _complain(told, told.exit_status, options)


def _writes(options: argparse.Namespace) -> bool:
    return getattr(options, "out", None) is not None


def _status_of(error: AgentError) -> int:
    if isinstance(error, InputError):
        return error.exit_status
    status = getattr(error, "exit_status", None)  # CommandError of the other commands
    if isinstance(status, int):
        return status
    return EX_CONFIG if isinstance(error, ProfileError) else EX_DATAERR


def _complain(error: AgentError, status: int, options: argparse.Namespace) -> int:
    chinese = getattr(error, "text_zh", error.text)
    if _json_wanted(options):
        told = {"code": error.code, "exit": status, "text_en": error.text, "text_zh": chinese, "hint": error.hint}
        _print(json.dumps({"error": told}, ensure_ascii=False))
        return status
    text = chinese if language_of(options) == "zh" else error.text
    print(f"{error.code}: {text}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
    return status


# --- the commands ------------------------------------------------------------------------------


def explain(options: argparse.Namespace) -> int:
    """One message, or one journal item."""
    from agent.explain import EXIT_DAMAGED, explained, json_of, profiles_for, text_of  # not for `status`
    from protocol.hexdump import read_dump

    if options.item is not None:
        return _explain_item(options) if options.journal else _ask_item(options)
    data = read_dump(_dump_text(options.dump))
    found = explained(data, profiles_for(options.profile, options.profile_dir))
    _show(options, lambda: json_of(found), lambda language: text_of(found, language))
    return EX_OK if found[0].fits else EXIT_DAMAGED


def _ask_item(options: argparse.Namespace) -> int:
    """The running agent opens its own item and gives the explanation only."""
    from agent.cli_call import Caller  # not for a dump

    caller = Caller(_place(options))
    try:
        told = caller("reversal.explain", id=options.item)
    finally:
        caller.close()
    texts = {language: told.pop(f"text_{language}") for language in ("en", "zh")}
    _show(options, lambda: told, lambda language: str(texts[language]))
    return EX_DATAERR if "error" in told else EX_OK


def _explain_item(options: argparse.Namespace) -> int:
    from agent.explain import EXIT_DAMAGED, explain_item, item_json, item_text  # not for `status`
    from agent.item_source import from_copy

    entry = from_copy(options.item, options.journal, _place(options).configuration_file)
    if entry is None:
        raise InputError(f"there is no item {options.item!r} in this copy", f"副本中没有记录 {options.item!r}")
    txn, found = explain_item(entry.public, entry.secret, options.profile_dir)
    _show(options, lambda: item_json(txn, found), lambda language: item_text(txn, found, language))
    return EX_OK if found is None or found.fits else EXIT_DAMAGED


def profile_check(options: argparse.Namespace) -> int:
    """Every error of a profile file."""
    from agent.profile_report import EXIT_CONFIG, problems, problems_json, problems_text  # not for `status`

    found = problems(options.file, options.profile_dir)
    _show(
        options,
        lambda: problems_json(options.file, found),
        lambda language: problems_text(options.file, found, language),
    )
    return EXIT_CONFIG if found else EX_OK


def profile_list(options: argparse.Namespace) -> int:
    """The profiles that can be named."""
    from agent.profile_report import profile_rows  # not for `status`

    rows = profile_rows(options.profile_dir)
    _show(
        options,
        lambda: {"profiles": rows},
        lambda language: "\n".join(
            f"{row['profile']:16}{row.get('error') or row['title']}" + (f"  {row['file']}" if row["file"] else "")
            for row in rows
        ),
    )
    return EX_OK


def profile_examples(options: argparse.Namespace) -> int:
    """The certification kit."""
    from agent.examples import examples, kit_json, kit_text, write_kit  # not for `status`
    from protocol.profile import load_profile

    profile = load_profile(options.name, options.profile_dir)
    cases = examples(profile)
    if options.out is not None:
        names = write_kit(profile, cases, options.out, language_of(options))
        _show(options, lambda: {"written": names}, lambda language: "\n".join(names))
        return EX_OK
    _show(options, lambda: kit_json(profile, cases), lambda language: kit_text(profile, cases, language))
    return EX_OK


def replay(options: argparse.Namespace) -> int:
    """A recorded conversation."""
    from agent.capture import CaptureError, is_capture, read_capture  # not for `status`
    from agent.conversation import replay as play
    from agent.ladder import ladder_json, ladder_text
    from agent.streams import reassemble
    from agent.transcript import read_transcript
    from protocol.profile import load_profile

    profile = load_profile(options.profile, options.profile_dir)
    data = _bytes(options.file, 64 * 1024 * 1024 + 1)
    if is_capture(data):
        chunks = reassemble(read_capture(data).segments, options.host_port)
    else:
        try:
            chunks = read_transcript(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise CaptureError("this is neither a capture nor a text", "既不是抓包文件也不是文本") from None
    steps = play(chunks, profile)
    _print(ladder_json(steps) if _json_wanted(options) else ladder_text(steps, language_of(options)))
    return EX_OK


# --- input and output --------------------------------------------------------------------------


def _dump_text(arguments: Sequence[str]) -> str:
    """The text of the dump: standard input, a file, or the arguments themselves."""
    if not arguments:
        raise InputError("give a hex dump, a file or -", "请给出十六进制数据、文件名或 -", 64)
    if len(arguments) == 1 and (arguments[0] == "-" or _is_file(arguments[0])):
        raw = _bytes(arguments[0], _TEXT_BYTES_MAX + 1)
        if len(raw) > _TEXT_BYTES_MAX:
            raise InputError("the dump is too large", "数据过大", EX_DATAERR)
        return _text_or_hex(raw)
    if len(arguments) == 1 and re.search("[/.]", arguments[0]):
        raise InputError(f"there is no file {arguments[0]!r}", f"没有文件 {arguments[0]!r}")
    return " ".join(arguments)


def _text_or_hex(raw: bytes) -> str:
    """A file that holds the message itself instead of a dump is taken as it is."""
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in raw):
        return raw.decode("ascii")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.hex()
    return text if "\0" not in text and text.isprintable() else raw.hex()


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False  # a dump is no possible name of a file: too long


def _bytes(name: str, limit: int) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(limit)
    with Path(name).open("rb") as file:
        return file.read(limit)


def _show(options: argparse.Namespace, as_object: Callable[[], dict[str, Any]], as_text: Callable[[str], str]) -> None:
    _print(json.dumps(as_object(), ensure_ascii=False) if _json_wanted(options) else as_text(language_of(options)))


def _print(text: str) -> None:
    """To standard output; what its character set lacks becomes "?"."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def _json_wanted(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "json", False))


def language_of(options: argparse.Namespace) -> str:
    """As asked for, as configured, or as the terminal is."""
    return _place(options).language()


def _place(options: argparse.Namespace) -> Place:
    wanted = {name: getattr(options, name, None) for name in ("config", "socket", "status_file", "language")}
    return Place(argparse.Namespace(**wanted))
