"""The command `hwsim`: the bench from a shell.

    hwsim up                                 readers, PIN pad and printer on ptys, until Ctrl-C
    hwsim fault printer paper-out            make something go wrong at a running bench
    hwsim fault reader corrupt nth=2         the second frame from now arrives damaged
    hwsim fault reader insert-card card=unionpay-credit
    hwsim state printer                      what can be seen of a device
    hwsim slips                              what the printer has printed (--png DIRECTORY: as pictures)
    hwsim run scenario.toml                  play a fault script on a running bench
    hwsim record reader /dev/ttyUSB0 reader.jsonl; hwsim replay reader.jsonl
    hwsim demo, hwsim host                   the demonstration; the simulated host alone

Exit status: 0 done, 64 wrong command line, 69 no bench or refused by it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hwsim.control import ask
from hwsim.errors import BenchError
from hwsim.fault_script import DEVICES, load_script
from hwsim.recorder import record_command, replay_command
from hwsim.recording import KINDS
from hwsim.script_runner import play
from hwsim.up import default_directory, up
from protocol.errors import AgentError

EX_USAGE, EX_UNAVAILABLE = 64, 69
ARGPARSE_USAGE = 2
NUMBER = re.compile(r"(0|[1-9]\d{0,8})(\.\d{1,9})?")
# Sub-commands with a command line of their own; imported on use, because each brings a whole program.
PASSED_ON = {"demo": "hwsim.demo", "host": "hwsim.host"}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in PASSED_ON:
        return passed_on(PASSED_ON[arguments[0]], arguments[1:])
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except AgentError as error:
        print(f"hwsim: {error.text}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return EX_UNAVAILABLE


def passed_on(module: str, arguments: Sequence[str]) -> int:
    """The other program's exit status; argparse's own for a wrong command line becomes ours."""
    try:
        return int(importlib.import_module(module).main(arguments))
    except SystemExit as ended:
        raise SystemExit(EX_USAGE if ended.code == ARGPARSE_USAGE else ended.code) from None


class Parser(argparse.ArgumentParser):
    """argparse with the exit status that the docstring promises."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"hwsim: {message}\n")


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="hwsim", description="A simulated bench: card reader, PIN pad, receipt printer and host.")
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for name, text in (("demo", "the demonstration"), ("host", "the simulated acquirer host alone")):
        commands.add_parser(name, help=text)
    add_up(commands.add_parser("up", help="start readers, PIN pad and printer, stay until SIGTERM"))
    fault = running(commands.add_parser("fault", help="make a fault or a person's action happen"), fault_command)
    fault.add_argument("device", help="printer, reader, pinpad or contactless")
    fault.add_argument("fault", help="a wrong name lists the right ones")
    fault.add_argument("args", nargs="*", metavar="KEY=VALUE", help="arguments of the fault, such as nth=2")
    state = running(commands.add_parser("state", help="what can be seen of a device, as JSON"), state_command)
    state.add_argument("device", nargs="?", help="printer, reader, pinpad or contactless; none: all")
    slips = running(commands.add_parser("slips", help="the text of the printed slips"), slips_command)
    slips.add_argument("--png", default="", metavar="DIRECTORY", help="draw them as pictures there")
    run = running(commands.add_parser("run", help="play a fault script on a running bench"), run_command)
    run.add_argument("script", help="a TOML file, see docs/bench.md")
    record = running(commands.add_parser("record", help="write down a real device's traffic, masked"), record_command)
    record.add_argument("kind", choices=KINDS)
    record.add_argument("port", help="the device: /dev/ttyUSB0 or a pyserial URL")
    record.add_argument("recording", help="the file to write")
    record.add_argument("--baud", type=int, default=9600)
    replay = running(commands.add_parser("replay", help="a device that says what a recorded one said"), replay_command)
    replay.add_argument("recording")
    return top


def add_up(command: argparse.ArgumentParser) -> None:
    running(command, up)
    command.add_argument("--json", action="store_true", help="print the addresses as one JSON object on one line")
    wires = "rfc2217: real parity and DSR; usb: printer and reader over USB/IP"
    command.add_argument("--wire", choices=("pty", "rfc2217", "usb"), default="pty", help=wires)
    levels = "--wire usb: the card reader passes blocks on (tpdu), or speaks T=0 and T=1 itself (apdu)"
    command.add_argument("--reader-level", choices=("tpdu", "apdu"), default="tpdu", help=levels)
    command.add_argument("--usbip-port", type=int, default=3240, help="port of --wire usb (0: any)")
    command.add_argument("--seed", type=int, default=0, help="seed of every random fault (default 0)")
    command.add_argument("--card", default="", help="a test card that is in the reader from the start")
    command.add_argument("--script", default="", help="a fault script to play from the start")
    command.add_argument("--host", default="", metavar="DIALECT", help="start a simulated host too, e.g. unionpay")


def running(command: argparse.ArgumentParser, action: object) -> argparse.ArgumentParser:
    command.add_argument("--directory", default=str(default_directory()), help="the bench's directory (%(default)s)")
    command.set_defaults(run=action)
    return command


def fault_command(options: argparse.Namespace) -> int:
    request = {"do": "fault", "device": options.device, "fault": options.fault, "args": arguments_of(options.args)}
    ask(Path(options.directory), request)
    return 0


def arguments_of(pairs: Sequence[str]) -> dict[str, object]:
    """`nth=2 seconds=0.5 name=x stays=true` as values. Raises BenchError."""
    values: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise BenchError(f"'{pair}' is not of the form KEY=VALUE")
        values[key.replace("-", "_")] = value_of(text)
    return values


def value_of(text: str) -> object:
    """Numbers and true/false as such; digits with a leading zero are a text (a PIN, a key)."""
    if text in ("true", "false"):
        return text == "true"
    if not NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


def state_command(options: argparse.Namespace) -> int:
    directory = Path(options.directory)
    names = [options.device] if options.device else list(DEVICES)
    states = {name: ask(directory, {"do": "state", "device": name})["state"] for name in names}
    shown = states[options.device] if options.device else states
    print(json.dumps(shown, ensure_ascii=False, indent=2))
    return 0


def slips_command(options: argparse.Namespace) -> int:
    if options.png:
        request: dict[str, object] = {"do": "pictures", "directory": str(Path(options.png).absolute())}
        print(*list_of(ask(Path(options.directory), request)["pictures"]), sep="\n")
        return 0
    slips = ask(Path(options.directory), {"do": "slips"})["slips"]
    for number, slip in enumerate(list_of(slips), 1):
        print(f"---- slip {number} ----\n{slip}")
    return 0


def list_of(answer: object) -> list[object]:
    return answer if isinstance(answer, list) else []


def run_command(options: argparse.Namespace) -> int:
    directory, script = Path(options.directory), load_script(Path(options.script))

    def perform(device: str, fault: str, args: dict[str, object]) -> None:
        ask(directory, {"do": "fault", "device": device, "fault": fault, "args": args})

    print(script.title)
    play(
        script,
        perform,
        threading.Event().wait,
        lambda step: print(f"{step.at_s:7.2f} s  {step.device}: {step.fault}", flush=True),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
