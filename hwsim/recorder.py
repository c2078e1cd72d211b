"""`hwsim record` and `hwsim replay`: a real device's traffic, masked, and the device it makes."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import tty
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import serial

from hwsim.devices.replay import ReplayDevice
from hwsim.errors import BenchError
from hwsim.recording import ChainMask, load_recording, masked
from hwsim.wires.loop import WireLoop
from hwsim.wires.pty import PtyWire, point

SLICE_S = 0.1


class Recorder:
    """Passes bytes between a device and a pty, and writes them down, each side whole until the other speaks."""

    def __init__(self, device: Any, link: Path, out: TextIO, kind: str) -> None:
        self._device, self._link, self._out, self._kind = device, link, out, kind
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self._lock = threading.Lock()
        self._chains = ChainMask()
        self._side, self._bytes, self._since = "", b"", 0.0
        self._began = time.monotonic()
        self._ended = threading.Event()
        made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        out.write(json.dumps({"kind": kind, "made_at_utc": made}) + "\n")
        point(link, os.ttyname(self._slave))

    def run(self, ended: threading.Event) -> None:
        """Until `ended` is set."""
        threads = [threading.Thread(target=self._from_device), threading.Thread(target=self._from_host)]
        for thread in threads:
            thread.start()
        while not ended.wait(SLICE_S) and not self._ended.is_set():
            continue
        self._ended.set()
        for thread in threads:
            thread.join()
        self._note("", b"")
        self._link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)

    def _from_device(self) -> None:
        while not self._ended.is_set():
            try:
                data = self._device.read(1)
                data += self._device.read(self._device.in_waiting) if data else b""
            except OSError:
                self._ended.set()  # the device is gone; what was heard so far is kept
                return
            if data:
                self._note("device", data)
                os.write(self._master, data)

    def _from_host(self) -> None:
        os.set_blocking(self._master, False)
        while not self._ended.is_set():
            try:
                data = os.read(self._master, 4096)
            except BlockingIOError:
                self._ended.wait(0.002)
                continue
            self._note("host", data)
            self._device.write(data)

    def _note(self, side: str, data: bytes) -> None:
        with self._lock:
            if side != self._side and self._bytes:
                heard = self._bytes
                if (self._side, self._kind) == ("device", "reader"):
                    heard = self._chains.emptied(heard)
                line = {"at_s": round(self._since, 4), "from": self._side, "hex": masked(self._kind, heard).hex()}
                self._out.write(json.dumps(line) + "\n")
                self._out.flush()
                self._bytes = b""
            if not self._bytes:
                self._since = time.monotonic() - self._began
            self._side = side
            self._bytes += data


def until_signal() -> threading.Event:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


def record_command(options: argparse.Namespace) -> int:
    """Raises BenchError."""
    directory = Path(options.directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = directory / options.kind
    try:
        with (
            serial.serial_for_url(options.port, options.baud, timeout=SLICE_S) as device,
            Path(options.recording).open("w", encoding="utf-8") as out,
        ):
            ended = until_signal()
            recorder = Recorder(device, link, out, options.kind)
            print(f"the program under test opens {link}; end with Ctrl-C", flush=True)
            recorder.run(ended)
    except OSError as error:
        raise BenchError(f"cannot record {options.port}: {error.strerror or 'it cannot be opened'}") from None
    return 0


def replay_command(options: argparse.Namespace) -> int:
    """Raises BenchError."""
    kind, pieces = load_recording(Path(options.recording))
    directory = Path(options.directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ended = until_signal()
    device = ReplayDevice(kind, pieces)
    with WireLoop() as loop:
        wire = PtyWire(device, directory / kind)
        loop.add(wire)
        print(json.dumps({kind: {"port": wire.port}}), flush=True)
        ended.wait()
        unknown = loop.call(lambda: device.counters["unknown questions"])
    print(f"questions that the recording does not know: {unknown}", file=sys.stderr)
    return 0
