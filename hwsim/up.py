"""`hwsim up`: a bench that stays until it is told to end."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from hwsim.bench import Bench
from hwsim.control import SOCKET_NAME, ControlServer, ask
from hwsim.devices.pinpad_keys import TEST_KEYS, encrypted_under
from hwsim.errors import BenchError
from hwsim.fault_script import FaultScript, load_script
from hwsim.script_runner import play

HOST_CONTROL_NAME = "host-control"


def default_directory() -> Path:
    """Where the bench's links and its control socket are when nothing else is said."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "hwsim" if runtime else Path(tempfile.gettempdir()) / f"hwsim-{os.getuid()}"


def up(options: argparse.Namespace) -> int:
    """Starts everything, prints the addresses, waits for SIGTERM or SIGINT. Raises BenchError."""
    directory = Path(options.directory)
    script = load_script(Path(options.script)) if options.script else None
    refuse_second(directory)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        bench = stack.enter_context(new_bench(directory, options))
        if options.card:
            bench.reader.insert_card(options.card)
        addresses: dict[str, dict[str, str]] = bench.addresses()
        if options.host:
            addresses["host"] = start_host(stack, directory, options.host)
        if options.wire == "usb":
            addresses["usbip"] = export(bench, options.usbip_port)
        control = ControlServer(directory / SOCKET_NAME, lambda request: answer(bench, addresses, request))
        stack.callback(control.close)
        announce(bench, addresses, options.json)
        if script is not None:
            run_script(bench, script, ended)
        ended.wait()
    return 0


def refuse_second(directory: Path) -> None:
    """Two benches in one directory would take each other's links away."""
    try:
        ask(directory, {"do": "addresses"})
    except BenchError:
        return
    raise BenchError(f"a bench is already running in {directory}", "end it, or choose another --directory")


def new_bench(directory: Path, options: argparse.Namespace) -> Bench:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Bench(directory, seed=options.seed, wire=options.wire, reader_level=options.reader_level)
    except OSError as error:
        raise BenchError(f"the bench cannot use {directory}: {error.strerror}", "choose another --directory") from None


def export(bench: Bench, port: int) -> dict[str, str]:
    """The USB devices for other processes, by USB/IP."""
    try:
        host, number = bench.serve_usbip(port)
    except OSError as error:
        raise BenchError(f"the USB/IP port {port} cannot be used: {error.strerror}", "choose --usbip-port") from None
    return {"address": f"{host}:{number}"}


def start_host(stack: ExitStack, directory: Path, dialect: str) -> dict[str, str]:
    """A simulated acquirer host beside the devices."""
    from hwsim.host.server import HostServer  # on use: a bench of devices alone does not need asyncio

    control = str(directory / HOST_CONTROL_NAME)
    stack.callback(Path(control).unlink, missing_ok=True)  # runs after the host has ended
    host = stack.enter_context(HostServer(dialect, control=control))
    return {"address": host.address, "dialect": dialect, "control": control}


def answer(bench: Bench, addresses: dict[str, dict[str, str]], request: dict[str, object]) -> dict[str, object]:
    """One request of the control socket. Raises BenchError."""
    device, args = str(request.get("device", "")), request.get("args", {})
    match request.get("do"):
        case "addresses":
            return {"addresses": addresses}
        case "state":
            return {"state": bench.state(device)}
        case "slips":
            return {"slips": bench.printer.slips()}
        case "pictures":
            return {"pictures": [str(path) for path in bench.printer.save_pngs(str(request.get("directory", "")))]}
        case "fault" if isinstance(args, dict):
            bench.perform(device, str(request.get("fault", "")), args)
            return {}
        case _:
            raise BenchError(
                "the bench does not know this request", "it knows: addresses, state, slips, pictures, fault"
            )


def announce(bench: Bench, addresses: dict[str, dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(addresses, ensure_ascii=False), flush=True)
        return
    print("The bench is up. End it with Ctrl-C.\n")
    print(bench.configuration())
    if "host" in addresses:
        print(f'# host ({addresses["host"]["dialect"]}): hosts = ["{addresses["host"]["address"]}"]')
    if "usbip" in addresses:
        print(f"# USB/IP: usbip list --remote 127.0.0.1 (server {addresses['usbip']['address']})")
    keys = {name: encrypted_under(TEST_KEYS["master"], TEST_KEYS[name]) for name in ("pin", "mac")}
    print(f'# test working keys under master key 0: pin_key = "{keys["pin"]}", mac_key = "{keys["mac"]}"')
    print(f"# faults from another shell: hwsim fault printer paper-out --directory {bench.directory}", flush=True)


def run_script(bench: Bench, script: FaultScript, ended: threading.Event) -> None:
    print(f"script: {script.title}", file=sys.stderr)
    play(
        script,
        bench.perform,
        ended.wait,
        lambda step: print(f"{step.at_s:7.2f} s  {step.device}: {step.fault}", file=sys.stderr),
    )
