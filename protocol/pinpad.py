"""PIN pad packets: VeriFone IPP, which the UIC PP791 speaks too.

Sources: UIC "PIN Pad 791 Programmer's Manual" UDN PM0103-U rev 06 (p. 26 LRC, section 5 administration,
section 9 transactions); VeriFone "MX800 Series Programmers Guide" appendix A (p. 336-339 Z66/Z67);
VeriFone "PINpad 1000SE Reference and Programmers Guide" 22903 rev E.

Rules: one packet is asked and answered at a time; each is answered by ACK or NAK; EOT ends the
session. Packets hold account numbers, keys and PIN blocks: no repr shows their text.
"""

from __future__ import annotations

import re

from construct import Bytes, Computed, Const, Int8ub, Struct, this

from protocol.errors import FrameError
from protocol.framing import NOISE, NOT_YET, Cut, FrameScanner, Spoilt, build, lrc, parse
from protocol.frozen import dataclass

STX, ETX, EOT, ACK, SO, SI, NAK = 0x02, 0x03, 0x04, 0x06, 0x0E, 0x0F, 0x15
SUB, FS = "\x1a", "\x1c"

PACKET_BYTES_MAX = 512  # longest used: 02 with a TR-31 block; PP791 names no larger one
MAC_CHUNK_CHARACTERS = 224  # MX800 guide p. 337: 28 blocks of 8 characters
MAC_CHUNKS_MAX = 100  # MX800 guide p. 337, note 1
DISPLAY_CHARACTERS_MAX = 64

# Transaction packet, "cancel":
#            0    1 ..      n+1  n+2
#            STX  text      ETX  LRC (of text and ETX)
#            02   37 32     03   06
TRANSACTION = Struct(Const(STX, Int8ub), "text" / Bytes(this._.size), Const(ETX, Int8ub), "lrc" / Int8ub)
# Administration packet, "is master key 1 there":
#            0    1 ..      n+1  n+2
#            SI   text      SO   LRC (of text and SO)
#            0F   30 34 31  0E   3B
ADMINISTRATION = Struct(Const(SI, Int8ub), "text" / Bytes(this._.size), Const(SO, Int8ub), "lrc" / Int8ub)

ENDS = {STX: ETX, SI: SO}


@dataclass(frozen=True, slots=True, repr=False)
class Packet:
    """One packet's text. `admin`: SI..SO instead of STX..ETX. SECRET content: no repr of the text."""

    text: str
    admin: bool = False

    def __repr__(self) -> str:
        return f"Packet({self.name}, {len(self.text)} characters)"

    @property
    def name(self) -> str:
        """The message's name, safe to show: 02, 70, Z66 ..."""
        return self.text[:3] if re.match(r"Z[4-9]\d", self.text) else self.text[:2]


@dataclass(frozen=True, slots=True)
class Control:
    """ACK, NAK or EOT, alone."""

    byte: int


PadEvent = Packet | Control | Spoilt  # Spoilt: a packet came damaged, answer NAK


def _layout(admin: bool, size: int) -> Struct:
    return Struct("size" / Computed(size), "packet" / (ADMINISTRATION if admin else TRANSACTION))


def build_packet(packet: Packet) -> bytes:
    """The bytes on the line. Raises FrameError: not ASCII, control bytes that end packets, too long."""
    try:
        text = packet.text.encode("ascii")
    except UnicodeEncodeError:
        raise FrameError("a PIN pad packet holds characters outside ASCII") from None
    if not text or len(text) > PACKET_BYTES_MAX or set(text) & {STX, ETX, SO, SI}:
        raise FrameError("a PIN pad packet that is empty, too long or holds frame bytes")
    end = SO if packet.admin else ETX
    inner = {"text": text, "lrc": lrc(text + bytes([end]))}
    return build(_layout(packet.admin, len(text)), {"packet": inner}, "PIN pad packet")


def parse_packet(raw: bytes) -> Packet:
    """Exactly one packet. Raises FrameError."""
    admin = raw[:1] == bytes([SI])
    values = parse(_layout(admin, len(raw) - 3), raw, "PIN pad packet").packet
    if lrc(raw[1:]) != 0:
        raise FrameError("a PIN pad packet's check byte is wrong", len(raw) - 1)
    try:
        return Packet(values.text.decode("ascii"), admin)
    except UnicodeDecodeError as error:
        raise FrameError("a PIN pad packet holds bytes outside ASCII", error.start + 1) from None


def cut_packet(buffer: bytes, lost: bool) -> Cut[PadEvent]:
    """The head of a PIN pad's stream (see `FrameScanner`)."""
    first = buffer[0]
    if first in (ACK, NAK, EOT):
        return NOISE if lost else Cut(1, Control(first))
    if first not in ENDS:
        return NOISE
    stop = next((i for i in range(1, len(buffer)) if buffer[i] in (STX, SI, ETX, SO)), None)
    if stop is None:
        return NOT_YET
    if buffer[stop] in ENDS:
        return Cut(stop, None, True)  # a new packet begins inside the old one: the old one is lost
    if stop + 1 >= len(buffer):
        return NOT_YET
    return Cut(stop + 2, _packet_or_spoilt(buffer[: stop + 2]))


def _packet_or_spoilt(raw: bytes) -> Packet | Spoilt:
    try:
        return parse_packet(raw)
    except FrameError:
        return Spoilt()


def packet_scanner() -> FrameScanner[PadEvent]:
    """A fresh scanner for one PIN pad."""
    return FrameScanner(cut_packet, PACKET_BYTES_MAX + 3)


# ---------------------------------------------------------------- messages to the pad


def _checked(value: str, pattern: str, what: str) -> str:
    if not re.fullmatch(pattern, value):
        raise FrameError(f"{what} of a wrong shape ({len(value)} characters)")
    return value


def _slot(key_index: int) -> str:
    if not 0 <= key_index <= 9:
        raise FrameError(f"master key {key_index}: only 0 to 9 exist")
    return str(key_index)


KEY_PATTERN = r"(?:[0-9A-F]{16}){1,3}"
SESSION_KEY_PATTERN = r"(?:[0-9A-F]{16}){1,2}"
ACCOUNT_PATTERN = r"\d{8,19}"


def load_master_key(key_index: int, key_hex: str) -> Packet:
    """02: the pad echoes it; the host answers ACK (store) or EOT (do not)."""
    return Packet("02" + _slot(key_index) + _checked(key_hex.upper(), KEY_PATTERN, "a master key"), admin=True)


def check_master_key(key_index: int) -> Packet:
    """04: answered by 04F (there) or 040 (not)."""
    return Packet("04" + _slot(key_index), admin=True)


def select_master_key(key_index: int) -> Packet:
    """08: must precede PIN entry."""
    return Packet("08" + _slot(key_index), admin=True)


def pin_entry(account: str, session_key_hex: str, amount: str = "", timeout_units: int = 1) -> Packet:
    """70: PIN entry with a session key encrypted under the selected master key; `timeout_units` of 30 s, 1..9."""
    key = _checked(session_key_hex.upper(), SESSION_KEY_PATTERN, "a session key")
    _checked(account, ACCOUNT_PATTERN, "an account number")
    _checked(amount, r"(?:\d{1,5}\.\d{2})?", "an amount")  # 8 characters at most
    if not 1 <= timeout_units <= 9:
        raise FrameError(f"a PIN entry time-out of {timeout_units} units of 30 s")
    return Packet(f"70.{account}{FS}{key}{amount}{FS}{timeout_units}")


def pin_entry_z60(account: str, working_key_hex: str) -> Packet:
    """Z60: PIN entry without amount or time-out."""
    key = _checked(working_key_hex.upper(), SESSION_KEY_PATTERN, "a working key")
    return Packet(f"Z60.{_checked(account, ACCOUNT_PATTERN, 'an account number')}{FS}{key}")


def cancel() -> Packet:
    """72: EOT when the pad was waiting for input, ACK when it was idle."""
    return Packet("72")


def display(message: str, clear: bool = True) -> Packet:
    """Z2: text on the pad's display. Raises FrameError for what the pad cannot show (only ASCII is sure)."""
    if len(message) > DISPLAY_CHARACTERS_MAX or not all(" " <= character <= "~" for character in message):
        raise FrameError("a display text that is too long or not plain ASCII")
    return Packet("Z2" + (SUB if clear else "") + message)


# [flag] of Z66, MX800 guide p. 336 table 87: 4/5 ASCII data last/not last, 6/7 data as hexadecimal last/not last. The
# guide's own example uses 3, which its table does not have; PP791 calls the element PktType, its page was not read.
MAC_LAST, MAC_MORE = "6", "7"


def mac_packets(data: bytes, session_key_hex: str, key_index: int) -> list[Packet]:
    """Z66 packets: `data` as hexadecimal, whole blocks in every packet but the last. Raises FrameError."""
    key = _checked(session_key_hex.upper(), rf"(?:{SESSION_KEY_PATTERN})?", "a session key")
    characters = data.hex().upper()
    chunks = [characters[i : i + MAC_CHUNK_CHARACTERS] for i in range(0, len(characters), MAC_CHUNK_CHARACTERS)]
    if not 1 <= len(chunks) <= MAC_CHUNKS_MAX:
        raise FrameError(f"a MAC over {len(data)} bytes: the pad takes 1 to {MAC_CHUNKS_MAX * 112}")
    flags = [MAC_MORE] * (len(chunks) - 1) + [MAC_LAST]
    return [
        Packet(f"Z66{flag}{number:02d}{_slot(key_index)}{FS}{key}{FS}{FS}{chunk}")
        for number, (flag, chunk) in enumerate(zip(flags, chunks, strict=True))
    ]


# ---------------------------------------------------------------- answers of the pad


@dataclass(frozen=True, slots=True, repr=False)
class PinAnswer:
    """71: the encrypted PIN block, or the pad's error ("" = none). An empty PIN has `pin_length` 0 and a block."""

    block: bytes = b""
    pin_length: int = 0
    error: str = ""


def parse_pin_answer(packet: Packet) -> PinAnswer:
    """71.0 len 01 block, or 71 error. Raises FrameError."""
    match = re.fullmatch(r"71\.0(00|0[4-9]|1[0-2])01([0-9A-F]{16})", packet.text)
    if match:
        return PinAnswer(bytes.fromhex(match[2]), int(match[1]))
    failed = re.fullmatch(r"71([0-9A-Z]{1,2})", packet.text)
    if failed:
        return PinAnswer(error=failed[1])
    raise FrameError(f"an answer to PIN entry of a wrong shape ({packet!r})")


# Error codes of 71, PP791 manual p. 205.
PIN_ERRORS = {
    "0": "no account number was sent",
    "1": "the session key does not fit the master key",
    "2": "the account number is too short",
    "3": "the account number is too long",
    "4": "the account number has other characters than digits",
    "5": "the session key's format is wrong",
    "6": "the time-out is wrong",
    "7": "too many PIN entries in an hour",
    "8": "the amount or prompt is wrong",
    "9": "the master key is missing",
    "A": "the selected master key is not for PIN entry",
    "B": "the pad's memory fails",
    "C": "the pad has no memory left",
    "E": "a field has a wrong length",
    "G": "a file of the pad is missing",
}


def pin_error(code: str) -> str:
    """In words."""
    return PIN_ERRORS.get(code, f"code {code}")


MAC_STATUS = {
    "0": "done",
    "1": "send the next packet",
    "2": "packets out of order",
    "3": "the master key is missing or not for MACs",
    "4": "the second key is missing",
    "5": "the message's length is wrong",
    "6": "the packet flag is wrong",
    "7": "the message's characters are wrong",
    "8": "the session key is wrong",
    "9": "the key's attributes do not allow this",
    "A": "the session key does not fit the master key's usage",
}


@dataclass(frozen=True, slots=True)
class MacAnswer:
    """Z67: its status and, with status 0, the eight bytes."""

    status: str
    mac: bytes = b""


def parse_mac_answer(packet: Packet) -> MacAnswer:
    """Raises FrameError."""
    match = re.fullmatch(r"Z67(?:0([0-9A-F]{16})|([1-9A]))", packet.text)
    if not match:
        raise FrameError(f"an answer to a MAC request of a wrong shape ({packet!r})")
    return MacAnswer("0", bytes.fromhex(match[1])) if match[1] else MacAnswer(match[2])


def parse_key_check(packet: Packet) -> bool:
    """04: is the key there (the PP791 appends its attributes). Raises FrameError."""
    match = re.fullmatch(r"04([0F])(?:.{0,8})", packet.text)
    if not match:
        raise FrameError(f"an answer to a key check of a wrong shape ({packet!r})")
    return match[1] == "F"
