"""A test card: EMV-like files and decisions, behind T=0 commands or whole APDUs (T=1: `card_t1`).

It is data and a few rules, not a certified card: the cryptogram is a MAC under a published test key, so that
a test can compute it again. What survives power: the transaction counter, the PIN tries and the list of decisions
(the card's own book, which tests compare with the agent's).

    00A40400 0E 1PAY.SYS.DDF01  -> 61xx, 00C00000xx -> 6F{84, A5{88, 5F2D}} 9000
    00B2010C 00                 -> 6Cxx, 00B2010Cxx -> 70{61{4F, 50, 87}} 9000
    00A40400 08 <AID>           -> 61xx ... 6F{84, A5{50, 87, 9F38}}
    80A80000 Lc 83 len <PDOL>   -> 61xx ... 77{82, 94}
    00B2 ..                     -> the records that 94 names
    80AE80 00 Lc <CDOL1>        -> 61xx ... 77{9F27, 9F36, 9F26, 9F10}

Source: EMV Book 1 (files, T=0), Book 3 (commands); status words ISO 7816-4.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hwsim.devices.card_files import build_files
from hwsim.devices.card_t1 import IFS_MAX, T1Link
from hwsim.devices.des import retail_mac
from hwsim.devices.tlv import list_length, list_value, tlv
from hwsim.errors import BenchError

PSE = b"1PAY.SYS.DDF01"
OK = b"\x90\x00"
PIN_TRIES = 3
CRYPTOGRAM_NAMES = {0x00: "AAC", 0x40: "TC", 0x80: "ARQC"}
REQUIRED = ("title", "aid", "label", "pan", "expiry", "ac_key")
DEFAULTS: dict[str, object] = {
    "atr": "3B6800000073C84000009000",
    "protocol": 0,  # T=0 or T=1; the ATR must say the same
    "ifsc": 32,  # T=1: longest block that the card takes, as the ATR's TA3 says (7816-3: 32 unless said)
    "block_size": IFS_MAX,  # T=1: longest block that the card sends
    "sequence": "01",
    "service_code": "220",
    "discretionary": "00000000",
    "holder": "TEST CARD/BENCH",
    "country": "0156",
    "currency": "0156",
    "aip": "7C00",
    "pdol": "9F1A029F33039F4005",
    "cdol1": "9F02069F03069F1A0295055F2A029A039C019F37049F2103",
    "cdol2": "8A029F02069F03069F1A0295055F2A029A039C019F37049F2103",
    "cvm_list": "000000000000000042031E031F00",
    "atc": 0,
    "pin": "123456",
    "first_ac": "ARQC",
    "second_ac": "as asked",
    "script": "done",  # what becomes of the issuer's script commands: done or refused
    "second_ac_s": 0.0,
    "first_ac_s": 0.0,
}


@dataclass(frozen=True, repr=False)
class CardSpec:
    """A card file: text values as in `hwsim/cards/*.toml`. `repr` shows the name only."""

    name: str
    values: Mapping[str, object]

    def __repr__(self) -> str:
        return f"CardSpec({self.name})"

    def text(self, key: str) -> str:
        return str(self.values[key])

    def data(self, key: str) -> bytes:
        return bytes.fromhex(self.text(key))

    def number(self, key: str) -> float:
        value = self.values[key]
        return float(value) if isinstance(value, int | float) else 0.0


def card_names() -> list[str]:
    """The cards that come with the bench."""
    folder = resources.files("hwsim") / "cards"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_card(name_or_path: str) -> CardSpec:
    """A card of the bench by name, or a TOML file by path. Raises BenchError."""
    if name_or_path.endswith(".toml"):
        name, text = Path(name_or_path).stem, read_card_file(Path(name_or_path))
    elif name_or_path in card_names():
        name, text = name_or_path, (resources.files("hwsim") / "cards" / f"{name_or_path}.toml").read_text("utf-8")
    else:
        raise BenchError(f"there is no test card '{name_or_path}'", "the bench has: " + ", ".join(card_names()))
    try:
        values = {**DEFAULTS, **tomllib.loads(text)}
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"the card file '{name}' is not valid TOML: {error}") from None
    return checked(CardSpec(name, values))


def read_card_file(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise BenchError(f"the card file {path} cannot be read: {error.strerror}") from None


def checked(spec: CardSpec) -> CardSpec:
    """Raises BenchError, naming the key, when a card file cannot be a card."""
    missing = [key for key in REQUIRED if key not in spec.values]
    unknown = sorted(set(spec.values) - set(DEFAULTS) - set(REQUIRED))
    if missing or unknown:
        raise BenchError(
            f"the card file '{spec.name}' lacks {missing or 'nothing'} and has unknown {unknown or 'nothing'}"
        )
    for key in ("atr", "aid", "ac_key", "aip", "pdol", "cdol1", "cdol2", "cvm_list"):
        try:
            spec.data(key)
        except ValueError:
            raise BenchError(f"the card file '{spec.name}': {key} is not hexadecimal") from None
    return spec


class EmvCard:
    """One inserted card. `transmit` takes a T=0 command (header, P3, data) and gives data and status word."""

    def __init__(self, spec: CardSpec) -> None:
        self.spec = spec
        self.atc = int(spec.number("atc"))
        self.last_online_atc = 0  # 9F13: of the last transaction that this card completed online
        self.pin_tries = PIN_TRIES
        self.decisions: list[str] = []
        self.refuse_second = spec.text("second_ac") == "AAC"
        self.files = build_files(spec)
        self.t1 = T1Link(self.apdu, self.work_s, int(spec.number("ifsc")), int(spec.number("block_size")))
        self.reset()

    @property
    def atr(self) -> bytes:
        return self.spec.data("atr")

    @property
    def protocol(self) -> int:
        return int(self.spec.number("protocol"))

    def reset(self) -> None:
        """Power on: the session is forgotten."""
        self._pending = b""
        self._selected = ""
        self._processing = False
        self._generated = 0
        self.t1.reset()

    def work_s(self, command: bytes) -> float:
        """How long the card thinks about this command."""
        if command[:2] != b"\x80\xae":
            return 0.0
        return self.spec.number("first_ac_s" if self._generated == 0 else "second_ac_s")

    def transmit(self, command: bytes) -> bytes:
        if len(command) < 4:
            return b"\x67\x00"
        header, length, body = command[:4], (command[4] if len(command) > 4 else 0), command[5:]
        if header[1] == 0xC0:
            return self._get_response(length)
        self._pending = b""
        handler = HANDLERS.get((header[0], header[1]))
        if handler is None:
            return b"\x6d\x00" if header[0] in (0x00, 0x80) else b"\x6e\x00"
        if header[1] in TAKES_DATA:
            return self._with_data(handler(self, header, body[:length]), body, length)
        return self._sized(handler(self, header, b""), length)

    def apdu(self, command: bytes) -> bytes:
        """A whole APDU, as T=1 and readers at APDU level bring it: data both ways at once, never 61xx."""
        data, wanted = parted(command)
        if data is None:
            return b"\x67\x00"
        handler = HANDLERS.get((command[0], command[1]))
        if handler is None:
            return b"\x6d\x00" if command[0] in (0x00, 0x80) else b"\x6e\x00"
        answer = handler(self, command[:4], data)
        if wanted is None:
            return answer[-2:]
        if wanted and wanted < len(answer) - 2:
            return b"\x6c" + bytes([len(answer) - 2])
        return answer

    def state(self) -> dict[str, object]:
        pan = self.spec.text("pan")
        return {
            "name": self.spec.name,
            "pan": f"{pan[:6]}{'*' * (len(pan) - 10)}{pan[-4:]}",
            "atc": self.atc,
            "pin_tries": self.pin_tries,
            "decisions": list(self.decisions),
            "protocol": f"T={self.protocol}",
            "blocks": self.t1.blocks,
        }

    # T=0: data both ways never go with one command (EMV Book 1, 9.3.1)

    def _with_data(self, answer: bytes, body: bytes, length: int) -> bytes:
        if len(body) not in (length, length + 1):  # + 1: a reader that passes the expected length along
            return b"\x67\x00"
        if len(answer) == 2:
            return answer
        self._pending = answer[:-2]
        return b"\x61" + bytes([len(self._pending) & 0xFF])

    def _get_response(self, length: int) -> bytes:
        wanted = length or 256
        if not self._pending:
            return b"\x69\x85"
        if wanted > len(self._pending):
            return b"\x6c" + bytes([len(self._pending) & 0xFF])
        answer, self._pending = self._pending[:wanted], self._pending[wanted:]
        return answer + (b"\x61" + bytes([len(self._pending) & 0xFF]) if self._pending else OK)

    def _sized(self, answer: bytes, length: int) -> bytes:
        if len(answer) > 2 and length != len(answer) - 2:
            return b"\x6c" + bytes([(len(answer) - 2) & 0xFF])
        return answer

    # The commands

    def select(self, header: bytes, data: bytes) -> bytes:
        aid = self.spec.data("aid")
        self._processing, self._generated = False, 0
        if data == PSE:
            self._selected = "pse"
            return tlv("6F", tlv("84", PSE) + tlv("A5", tlv("88", b"\x01") + tlv("5F2D", b"zhen"))) + OK
        if header[2] == 0x04 and len(data) >= 5 and aid.startswith(data):
            self._selected = "application"
            label = tlv("50", self.spec.text("label").encode("ascii")) + tlv("87", b"\x01")
            return tlv("6F", tlv("84", aid) + tlv("A5", label + tlv("9F38", self.spec.data("pdol")))) + OK
        self._selected = ""
        return b"\x6a\x82"

    def read_record(self, header: bytes, _data: bytes) -> bytes:
        record, sfi = header[2], header[3] >> 3
        if header[3] & 0x07 != 0x04:
            return b"\x6a\x81"
        files = [number for name, number, _record in self.files if name == self._selected]
        if sfi not in files:
            return b"\x6a\x82"
        content = self.files.get((self._selected, sfi, record))
        return b"\x6a\x83" if content is None else content + OK

    def processing_options(self, _header: bytes, data: bytes) -> bytes:
        wanted = list_length(self.spec.data("pdol"))
        if self._selected != "application" or self._processing:
            return b"\x69\x85"
        if len(data) != wanted + 2 or data[0] != 0x83 or data[1] != wanted:
            return b"\x67\x00"
        self.atc += 1
        self._processing = True
        return tlv("77", tlv("82", self.spec.data("aip")) + tlv("94", bytes.fromhex("0801010010010200"))) + OK

    def get_data(self, header: bytes, _data: bytes) -> bytes:
        values = {
            0x9F13: self.last_online_atc.to_bytes(2, "big"),
            0x9F17: bytes([self.pin_tries]),
            0x9F36: self.atc.to_bytes(2, "big"),
        }
        tag = header[2] << 8 | header[3]
        return tlv(f"{tag:04X}", values[tag]) + OK if tag in values else b"\x6a\x88"

    def verify(self, header: bytes, data: bytes) -> bytes:
        if header[3] != 0x80 or len(data) != 8 or data[0] >> 4 != 2:
            return b"\x6a\x80"
        if self.pin_tries == 0:
            return b"\x69\x83"
        pin = self.spec.text("pin")
        if data == bytes.fromhex(f"2{len(pin):X}{pin}".ljust(16, "F")):
            self.pin_tries = PIN_TRIES
            return OK
        self.pin_tries -= 1
        return bytes([0x63, 0xC0 | self.pin_tries])

    def external_authenticate(self, _header: bytes, data: bytes) -> bytes:
        if self._generated != 1:
            return b"\x69\x85"
        return OK if 8 <= len(data) <= 16 else b"\x67\x00"

    def generate_ac(self, header: bytes, data: bytes) -> bytes:
        asked = header[2] & 0xC0
        if not self._processing or self._generated >= 2 or asked not in CRYPTOGRAM_NAMES:
            return b"\x69\x85"
        wanted = self.spec.data("cdol1" if self._generated == 0 else "cdol2")
        if len(data) != list_length(wanted):
            return b"\x67\x00"
        kind = self._first_kind(asked) if self._generated == 0 else self._second_kind(asked, wanted, data)
        if self._generated == 1 and kind == 0x40:
            self.last_online_atc = self.atc
        self._generated = 2 if kind != 0x80 else 1
        self.decisions.append(f"{CRYPTOGRAM_NAMES[kind]} {self.atc}")
        return self._cryptogram(kind, data) + OK

    def script_command(self, header: bytes, _data: bytes) -> bytes:
        """A command of the issuer's script (PIN unblock, PUT DATA); its secure messaging is not checked."""
        done = self._generated >= 1 and self.spec.text("script") == "done"
        self.decisions.append(f"script {header[:2].hex().upper()} {'done' if done else 'refused'}")
        return OK if done else b"\x69\x88"

    def _first_kind(self, asked: int) -> int:
        policy = {"AAC": 0x00, "TC": 0x40, "ARQC": 0x80}[self.spec.text("first_ac")]
        if asked == 0x00 or policy == 0x00:
            return 0x00
        return policy if policy == 0x80 else asked

    def _second_kind(self, asked: int, wanted: bytes, data: bytes) -> int:
        approved = list_value(wanted, "8A", data) in (b"00", b"10", b"11", b"Y3", b"")
        return 0x40 if asked == 0x40 and approved and not self.refuse_second else 0x00

    def _cryptogram(self, kind: int, data: bytes) -> bytes:
        counter = self.atc.to_bytes(2, "big")
        verification = bytes([0xA0 if kind == 0x80 else 0x60, 0x00, 0x00])
        # EMV Book 2, annex B1.2 pads with 80; the key is used as it is (no session key), so tests can redo it.
        signed = data + self.spec.data("aip") + counter + verification + b"\x80"
        issuer_data = b"\x07\x01\x01\x03" + verification + b"\x01"
        cryptogram = retail_mac(self.spec.data("ac_key"), signed)
        content = tlv("9F27", bytes([kind])) + tlv("9F36", counter) + tlv("9F26", cryptogram)
        return tlv("77", content + tlv("9F10", issuer_data))


HANDLERS = {
    (0x00, 0xA4): EmvCard.select,
    (0x00, 0xB2): EmvCard.read_record,
    (0x80, 0xA8): EmvCard.processing_options,
    (0x80, 0xCA): EmvCard.get_data,
    (0x00, 0x20): EmvCard.verify,
    (0x00, 0x82): EmvCard.external_authenticate,
    (0x80, 0xAE): EmvCard.generate_ac,
    (0x84, 0x24): EmvCard.script_command,
    (0x84, 0xDA): EmvCard.script_command,
}
TAKES_DATA = frozenset({0xA4, 0xA8, 0x20, 0x82, 0xAE, 0x24, 0xDA})


def parted(command: bytes) -> tuple[bytes | None, int | None]:
    """Data and expected length (0: all there is; None: none is wanted) of a short APDU; data None: it is no APDU."""
    body = command[4:]
    if len(command) < 4:
        return None, None
    if len(body) < 2:
        return b"", body[0] if body else None
    if len(body) == body[0] + 1:
        return body[1:], None
    return (body[1:-1], body[-1]) if len(body) == body[0] + 2 else (None, None)
