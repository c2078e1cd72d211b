"""Chip cards: answer to reset, APDUs, T=0 parameters and T=1 blocks (ISO/IEC 7816-3 and -4), all pure.

Source: ISO/IEC 7816-3:2006 clauses 8 (ATR), 9 (PPS), 11 (T=1); 7816-4 clause 5 (APDU, status words).
"""

from __future__ import annotations

from construct import Bytes, Int8ub, Struct, this

from protocol.errors import FrameError
from protocol.framing import build, lrc, parse
from protocol.frozen import dataclass

# ISO/IEC 7816-3 table 7 and 8: clock rate conversion Fi and baud rate adjustment Di; 0 = reserved.
FI = (372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0)
DI = (0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0)

ATR_BYTES_MAX = 33  # TS and at most 32 characters (7816-3, 8.1)
DEFAULT_TA1 = 0x11
DEFAULT_WAITING = 10  # WI (7816-3, 10.2)
DEFAULT_IFSC = 32  # 7816-3, 11.4.2
DEFAULT_BWI_CWI = 0x4D  # 7816-3, 11.4.3: BWI 4, CWI 13


@dataclass(frozen=True, slots=True)
class Atr:
    """What the card said at power-on. `protocols` in the order of its TD bytes, never empty."""

    raw: bytes
    convention: str  # "direct" or "inverse"
    protocols: tuple[int, ...]
    ta1: int = DEFAULT_TA1
    guard_time: int = 0
    waiting_integer: int = DEFAULT_WAITING
    ifsc: int = DEFAULT_IFSC
    bwi_cwi: int = DEFAULT_BWI_CWI
    crc: bool = False  # T=1 blocks end with a CRC instead of an LRC
    specific_mode: int | None = None  # TA2: the protocol that the card insists on
    historical: bytes = b""

    @property
    def protocol(self) -> int:
        """The protocol to use: TA2's, or T=1 before T=0 as the card offers it first."""
        if self.specific_mode is not None:
            return self.specific_mode & 0x0F
        return self.protocols[0]

    @property
    def negotiable(self) -> bool:
        """A PPS may be sent: no TA2, and something to negotiate."""
        return self.specific_mode is None and (self.ta1 != DEFAULT_TA1 or len(set(self.protocols)) > 1)


def parse_atr(raw: bytes) -> Atr:
    """The typed ATR. Raises FrameError: empty, short, too long, bad TS, bad TCK."""
    if not 2 <= len(raw) <= ATR_BYTES_MAX:
        raise FrameError(f"an ATR of {len(raw)} bytes", len(raw))
    if raw[0] not in (0x3B, 0x3F):
        raise FrameError(f"the ATR begins with {raw[0]:02X} instead of 3B or 3F")
    interface, protocols, position = _interface_bytes(raw)
    end = position + (raw[1] & 0x0F)
    if any(protocol != 0 for protocol in protocols):
        if len(raw) != end + 1 or lrc(raw[1:]) != 0:
            raise FrameError("the ATR's check byte is missing or wrong", end)
    elif len(raw) not in (end, end + 1):
        raise FrameError(f"the ATR has {len(raw)} bytes, announced {end}", end)
    return _atr(raw, interface, protocols, raw[position:end])


def _interface_bytes(raw: bytes) -> tuple[dict[tuple[str, int], int], tuple[int, ...], int]:
    """The TA..TC bytes by (letter, group, protocol-scoped by the caller), protocols, offset of the historical bytes."""
    interface: dict[tuple[str, int], int] = {}
    protocols: list[int] = []
    flags, position, group = raw[1] >> 4, 2, 1
    while flags:
        present = [letter for bit, letter in enumerate("ABCD") if flags & (1 << bit)]
        if position + len(present) > len(raw):
            raise FrameError("the ATR ends in its interface bytes", len(raw))
        for letter in present:
            interface[(letter, group)] = raw[position]
            position += 1
        following = interface.get(("D", group))
        flags = 0 if following is None else following >> 4
        if following is not None:
            protocols.append(following & 0x0F)
        group += 1
    return interface, tuple(dict.fromkeys(p for p in protocols if p != 15)) or (0,), position


def _atr(raw: bytes, interface: dict[tuple[str, int], int], protocols: tuple[int, ...], historical: bytes) -> Atr:
    # T=1's own bytes stand in the first group at or after 3 that a TD with T=1 opens.
    group = next(
        (g for g in range(3, 9) if interface.get(("D", g - 1), 0) & 0x0F == 1 and ("D", g - 1) in interface), 0
    )
    return Atr(
        raw=raw,
        convention="direct" if raw[0] == 0x3B else "inverse",
        protocols=protocols,
        ta1=interface.get(("A", 1), DEFAULT_TA1),
        guard_time=interface.get(("C", 1), 0),
        waiting_integer=interface.get(("C", 2), DEFAULT_WAITING),
        ifsc=interface.get(("A", group), DEFAULT_IFSC),
        bwi_cwi=interface.get(("B", group), DEFAULT_BWI_CWI),
        crc=bool(interface.get(("C", group), 0) & 1),
        specific_mode=interface.get(("A", 2)),
        historical=historical,
    )


def pps_request(protocol: int, ta1: int) -> bytes:
    """PPSS, PPS0, PPS1 and check byte (7816-3, 9.2); without PPS1 when the defaults stay."""
    head = bytes([0xFF, 0x10 | protocol, ta1]) if ta1 != DEFAULT_TA1 else bytes([0xFF, protocol])
    return head + bytes([lrc(head)])


def pps_accepted(request: bytes, answer: bytes) -> bool:
    """The card echoed the request: the speed was agreed (7816-3, 9.3)."""
    return answer == request


# ---------------------------------------------------------------- APDU


@dataclass(frozen=True, slots=True, repr=False)
class Apdu:
    """One short command. `le` None: no answer data wanted; 0 means 256. Its data may hold card data: no repr."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    le: int | None = None

    def __repr__(self) -> str:
        return f"Apdu({self.cla:02X} {self.ins:02X} {self.p1:02X} {self.p2:02X}, {len(self.data)} bytes, le={self.le})"

    def encode(self) -> bytes:
        """The short APDU (cases 1 to 4)."""
        if len(self.data) > 255 or (self.le is not None and not 0 <= self.le <= 256):
            raise FrameError("an APDU longer than a short one")
        body = bytes([self.cla, self.ins, self.p1, self.p2])
        if self.data:
            body += bytes([len(self.data)]) + self.data
        return body if self.le is None else body + bytes([self.le & 0xFF])

    def tpdu(self) -> bytes:
        """As T=0 sends it: always a P3; case 4 without its Le (the card asks with 61xx)."""
        if self.data:
            return self.encode()[: 5 + len(self.data)]
        return bytes([self.cla, self.ins, self.p1, self.p2, (self.le or 0) & 0xFF])


@dataclass(frozen=True, slots=True, repr=False)
class ApduAnswer:
    """Data and status word of a card's answer. The data may be card data: no repr of it."""

    data: bytes
    sw: int

    def __repr__(self) -> str:
        return f"ApduAnswer({len(self.data)} bytes, {self.sw:04X})"


def parse_apdu_answer(raw: bytes) -> ApduAnswer:
    """Raises FrameError when there is no status word."""
    if len(raw) < 2:
        raise FrameError(f"a card's answer of {len(raw)} bytes has no status word", len(raw))
    return ApduAnswer(raw[:-2], int.from_bytes(raw[-2:], "big"))


def get_response(cla: int, length: int) -> Apdu:
    """GET RESPONSE for the `length` bytes (0: 256) which 61xx announced."""
    return Apdu(cla & 0xFC, 0xC0, 0, 0, b"", length)


# ---------------------------------------------------------------- T=1 blocks

#            0    1    2    3 ..       n+3
#            NAD  PCB  LEN  INF        LRC     I-block 0 with SELECT: 00 00 05 00 A4 04 00 00 A5
T1_BLOCK = Struct("nad" / Int8ub, "pcb" / Int8ub, "length" / Int8ub, "inf" / Bytes(this.length), "lrc" / Int8ub)

T1_INF_MAX = 254
I_BLOCK, R_BLOCK, S_BLOCK = "I", "R", "S"
S_RESYNCH, S_IFS, S_ABORT, S_WTX = 0xC0, 0xC1, 0xC2, 0xC3  # requests; | 20 is the response
S_RESPONSE = 0x20


@dataclass(frozen=True, slots=True, repr=False)
class T1Block:
    """One T=1 block. `inf` may be card data: no repr of it."""

    pcb: int
    inf: bytes = b""
    nad: int = 0

    def __repr__(self) -> str:
        return f"T1Block({self.pcb:02X}, {len(self.inf)} bytes)"

    @property
    def kind(self) -> str:
        """I, R or S."""
        return I_BLOCK if self.pcb < 0x80 else (S_BLOCK if self.pcb & 0x40 else R_BLOCK)

    @property
    def sequence(self) -> int:
        """N(S) of an I-block, N(R) of an R-block."""
        return (self.pcb >> (6 if self.kind == I_BLOCK else 4)) & 1

    @property
    def more(self) -> bool:
        """The chain goes on (I-blocks)."""
        return self.kind == I_BLOCK and bool(self.pcb & 0x20)


def i_block(sequence: int, inf: bytes, more: bool) -> T1Block:
    """An information block."""
    return T1Block((sequence & 1) << 6 | (0x20 if more else 0), inf)


def r_block(sequence: int, error: int = 0) -> T1Block:
    """A receive-ready block: 0 no error, 1 check value, 2 other error."""
    return T1Block(0x80 | (sequence & 1) << 4 | error)


def build_t1(block: T1Block) -> bytes:
    """Prologue, information and LRC."""
    if len(block.inf) > T1_INF_MAX:
        raise FrameError(f"a T=1 block of {len(block.inf)} bytes")
    values = {"nad": block.nad, "pcb": block.pcb, "length": len(block.inf), "inf": block.inf}
    head = bytes([block.nad, block.pcb, len(block.inf)]) + block.inf
    return build(T1_BLOCK, {**values, "lrc": lrc(head)}, "T=1 block")


def parse_t1(raw: bytes) -> T1Block:
    """Raises FrameError: short, long, wrong LRC."""
    values = parse(T1_BLOCK, raw, "T=1 block")
    if lrc(raw) != 0:
        raise FrameError("the T=1 block's check byte is wrong", len(raw) - 1)
    return T1Block(values.pcb, values.inf, values.nad)
