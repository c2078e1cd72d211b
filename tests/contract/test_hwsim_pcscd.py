"""Other people's software on the simulated reader: pcscd with libccid's serial driver, spoken to through PC/SC."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hwsim.bench import Bench

DAEMON = shutil.which("pcscd", path=os.environ.get("PATH", "") + ":/usr/sbin")
PREFIX = Path(DAEMON).parents[2] if DAEMON else Path("/")
DRIVER = PREFIX / "usr/lib/pcsc/drivers/serial/libccidtwin.so"
SOCKET = Path("/run/pcscd/pcscd.comm")
DEADLINE_S = 20.0
SHARED, PROTOCOL_T0, PROTOCOL_T1 = 2, 1, 2
LONG, WORD = ctypes.c_long, ctypes.c_ulong

pytestmark = [
    pytest.mark.skipif(DAEMON is None or not DRIVER.exists(), reason="apt-get install pcscd libccid"),
    pytest.mark.skipif(not os.access("/run", os.W_OK), reason="pcscd keeps its socket in /run: run as root"),
    pytest.mark.skipif(SOCKET.exists(), reason="another pcscd runs: systemctl stop pcscd.socket pcscd"),
]


class Pcsc:
    """The few functions of libpcsclite that the test needs."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(next(PREFIX.glob("usr/lib/*/libpcsclite.so.1"))))
        for name in ("SCardEstablishContext", "SCardListReaders", "SCardConnect", "SCardTransmit"):
            getattr(self._library, name).restype = LONG
        self._context, self._card, self.protocol = LONG(), LONG(), WORD()
        until(lambda: self._call("SCardEstablishContext", WORD(2), None, None, ctypes.byref(self._context)))

    def _call(self, name: str, *arguments: object) -> bool:
        return bool(getattr(self._library, name)(*arguments) == 0)

    def readers(self) -> list[str]:
        names, size = ctypes.create_string_buffer(1024), WORD(1024)
        until(lambda: self._call("SCardListReaders", self._context, None, names, ctypes.byref(size)))
        return [name.decode() for name in names.raw[: size.value].split(b"\0") if name]

    def connect(self, reader: str) -> None:
        name, either = reader.encode(), WORD(PROTOCOL_T0 | PROTOCOL_T1)
        to = (ctypes.byref(self._card), ctypes.byref(self.protocol))
        until(lambda: self._call("SCardConnect", self._context, name, WORD(SHARED), either, *to))

    def transmit(self, command: str) -> bytes:
        data, answer, size = bytes.fromhex(command), ctypes.create_string_buffer(300), WORD(300)
        request = (WORD * 2)(self.protocol.value, ctypes.sizeof(WORD * 2))
        to = (None, answer, ctypes.byref(size))
        assert self._call("SCardTransmit", self._card, ctypes.byref(request), data, WORD(len(data)), *to)
        return answer.raw[: size.value]


def until(condition: Callable[[], bool]) -> None:
    """The daemon needs a moment to start and to see the card."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "pcscd did not get there in time"
        time.sleep(0.05)


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """With a card from the start: `unionpay-credit`, or the one that the test names."""
    with Bench(tmp_path / "b") as bench:
        bench.reader.insert_card(getattr(request, "param", "unionpay-credit"))
        yield bench


@pytest.fixture
def pcsc(bench: Bench, tmp_path: Path) -> Iterator[Pcsc]:
    SOCKET.parent.mkdir(exist_ok=True)
    configuration = tmp_path / "reader.conf"
    configuration.write_text(
        f'FRIENDLYNAME "hwsim reader"\nDEVICENAME {bench.reader.path}:GemPCTwin\nLIBPATH {DRIVER}\nCHANNELID 1\n'
    )
    assert DAEMON is not None
    command = [DAEMON, "--foreground", "--config", str(configuration)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        yield Pcsc()
        daemon.terminate()
        daemon.wait(DEADLINE_S)


def test_libccid_lists_the_reader_and_talks_to_the_card(pcsc: Pcsc, bench: Bench) -> None:
    readers = pcsc.readers()
    assert readers == ["hwsim reader 00 00"]
    pcsc.connect(readers[0])
    answer = pcsc.transmit("00A404000E315041592E5359532E4444463031")
    assert answer[0] == 0x61
    assert b"1PAY.SYS.DDF01" in pcsc.transmit(f"00C00000{answer[1]:02X}")
    length = pcsc.transmit("00B2010C00")[1]
    assert bytes.fromhex("4F08A000000333010102") in pcsc.transmit(f"00B2010C{length:02X}")
    assert bench.reader.state()["powered"] is True


@pytest.mark.parametrize("bench", ["unionpay-t1-slow"], indirect=True)
def test_libccid_talks_t1_to_a_card_that_chains_and_asks_for_time(pcsc: Pcsc, bench: Bench) -> None:
    """libccid has a T=1 of its own: a second opinion on the simulated card's."""
    pcsc.connect(pcsc.readers()[0])
    assert pcsc.protocol.value == PROTOCOL_T1
    assert b"1PAY.SYS.DDF01" in pcsc.transmit("00A404000E315041592E5359532E444446303100")
    assert pcsc.transmit("00A4040008A00000033301010200")[-2:] == b"\x90\x00"
    answer = pcsc.transmit(f"80A800000C830A{bytes(10).hex()}00")
    assert answer[-2:] == b"\x90\x00"
    assert len(pcsc.transmit("00B2021400")) > 60  # the lists: more than one block
    cryptogram = pcsc.transmit(f"80AE800020{bytes(32).hex()}00")  # 38 bytes in blocks of 32, a second to think
    assert bytes.fromhex("9F270180") in cryptogram
    card = bench.reader.state()["card"]
    assert isinstance(card, dict)
    assert card["blocks"] > 7


# Debian's pyscard belongs to Debian's Python; PyPI has it as source only.
DEBIAN_PYTHON = Path("/usr/bin/python3")
PYSCARD = next(Path("/usr/lib/python3/dist-packages").glob("smartcard/__init__.py"), None)
SCRIPT = """
import sys, time
from smartcard.System import readers
from smartcard.util import toBytes, toHexString
end = time.monotonic() + 20
while not readers():
    assert time.monotonic() < end, "no reader"
    time.sleep(0.05)
connection = readers()[0].createConnection()
connection.connect()
for line in sys.stdin:
    data, sw1, sw2 = connection.transmit(toBytes(line))
    print(toHexString(data + [sw1, sw2]).replace(" ", ""), flush=True)
"""


@pytest.mark.skipif(PYSCARD is None, reason="apt-get install python3-pyscard")
@pytest.mark.parametrize(
    ("bench", "commands", "found"),
    [
        ("unionpay-credit", ["00A404000E315041592E5359532E4444463031"], "61"),
        (
            "unionpay-t1",
            ["00A404000E315041592E5359532E444446303100", "00B2010C00"],
            "315041592E5359532E4444463031|4F08A000000333010102",
        ),
    ],
    indirect=["bench"],
)
def test_pyscard_transmits_apdus(pcsc: Pcsc, bench: Bench, commands: list[str], found: str) -> None:
    pcsc.readers()  # pcscd is there
    command = [str(DEBIAN_PYTHON), "-c", SCRIPT]
    told = subprocess.run(
        command, input="\n".join(commands), capture_output=True, text=True, timeout=60, check=True
    ).stdout.splitlines()
    assert len(told) == len(commands)
    assert all(piece in answer for piece, answer in zip(found.split("|"), told, strict=True))
