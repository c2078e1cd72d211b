"""Messages and frames: each parser against the barest software that takes the same bytes apart, in CPU time."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import iso8583

from protocol import ccid, escpos, neo2, pinpad
from protocol.errors import MessageError
from protocol.iso8583 import Message
from protocol.profile import load_profile, profile_names
from protocol.requests import RequestFacts, build_request
from protocol.reversal import freeze
from protocol.rules import Profile
from tests.bench.figures import Figure
from tests.bench.scene import CARD


def figures(seconds: float) -> list[Figure]:
    """`seconds` of CPU for each."""
    found: list[Figure] = []
    for name in profile_names():
        found += _codec(name, seconds)
        found.append(_reversal(name, seconds))
    found += _frames(seconds)
    found += _receipt(seconds)
    return found


def rate(work: Callable[[], Any], seconds: float) -> float:
    """Calls a second of CPU: the best of three."""
    best = 0.0
    for _ in range(3):
        count, began = 0, time.process_time()
        while (spent := time.process_time() - began) < seconds / 3:
            for _ in range(20):
                work()
            count += 20
        best = max(best, count / spent)
    return best


def sale(profile: Profile) -> Any:
    """A sale's request in this dialect."""
    packing = profile.codec.packings.get(22)
    wide = packing is not None and packing.format.length == 12  # ISO 8583:1993: twelve positions
    facts = RequestFacts(
        kind="sale",
        amount_minor=1250,
        currency="156",
        stan="000001",
        batch="000017",
        terminal_id="10000001",
        merchant_id="102110000000001",
        local_date="0611",
        local_time="120000",
        transmission="0611040000",
        acquirer="12345678",
        year="26",
        **{**CARD, **({"pos_entry_mode": "000000000012"} if wide else {})},
    )
    return build_request(profile, facts)


def _anew(message: Message) -> Message:
    """The same message that nobody has packed yet: a packed one keeps its bytes."""
    return Message(message.mti, message.fields)


def _codec(name: str, seconds: float) -> list[Figure]:
    """Ours checks every value and every byte; the library alone does not."""
    codec = load_profile(name).codec
    message = sale(load_profile(name))
    body = codec.pack(message)
    spec: Any = codec._spec
    document = iso8583.decode(body, spec)[0]
    bare_name = "pyiso8583"
    pack, bare_pack = (
        rate(lambda: codec.pack(_anew(message)), seconds),
        rate(lambda: iso8583.encode(dict(document), spec), seconds),
    )
    unpack, bare_unpack = rate(lambda: codec.unpack(body), seconds), rate(lambda: iso8583.decode(body, spec), seconds)
    subject = "Messages a second of CPU"
    return [
        Figure(subject, f"{name}, pack", pack, "", baseline_name=bare_name, baseline=bare_pack),
        Figure(subject, f"{name}, unpack", unpack, "", baseline_name=bare_name, baseline=bare_unpack),
    ]


def _reversal(name: str, seconds: float) -> Figure:
    """Encode and decode of a reversal of 21 elements, all checks on, in turns with the bare library; CPU time."""
    profile = load_profile(name)
    frozen = freeze(sale(profile), profile, "timeout", own_stan="000124")
    message = _grown(profile, profile.codec.unpack(frozen.body))
    codec, spec = profile.codec, profile.codec._spec
    body = codec.pack(message)
    document: Any = iso8583.decode(body, spec)[0]
    ours, bare = _in_turns(
        lambda: (codec.pack(_anew(message)), codec.unpack(body)),
        lambda: (iso8583.encode(dict(document), spec), iso8583.decode(body, spec)),
        seconds,
    )
    subject = "A reversal of 21 elements, encoded and decoded"
    more: dict[str, Any] = {"baseline_name": "pyiso8583", "baseline": bare * 1e6, "goal": "<= 1.5x"}
    return Figure(subject, name, ours * 1e6, "us", met=ours <= 1.5 * bare, **more)


_MORE = {
    **{12: "110405", 13: "0102", 15: "0102", 23: "001", 26: "12", 32: "12345678", 37: "000000000042", 38: "123456"},
    **{44: "X" * 25, 48: "0001", 54: "0" * 20, 61: "0000170001230102", 62: "AB" * 8, 63: "CUP", 18: "5411", 19: "156"},
    **{5: "0" * 12, 33: "12345678", 22: "051", 55: "9505000004E000"},
}
ELEMENTS_WANTED = 21


def _grown(profile: Profile, message: Message) -> Message:
    """With more elements of the profile, until there are 21."""
    for number, value in _MORE.items():
        if len(message.fields) < ELEMENTS_WANTED and number in profile.codec.packings and number not in message.fields:
            more = message.with_fields({number: value})
            try:
                profile.codec.pack(more)
            except MessageError:
                continue  # this dialect writes it otherwise
            message = more
    assert len(message.fields) == ELEMENTS_WANTED
    return message


def _in_turns(first: Callable[[], Any], second: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """CPU seconds a call of each, taken in turns: the lower quartile, so that neither profits from a quiet moment."""
    spent: tuple[list[float], list[float]] = ([], [])
    end = time.process_time() + seconds
    while time.process_time() < end or not spent[1]:
        for work, samples in zip((first, second), spent, strict=True):
            began = time.process_time()
            for _ in range(20):
                work()
            samples.append((time.process_time() - began) / 20)
    return tuple(sorted(samples)[len(samples) // 4] for samples in spent)  # type: ignore[return-value]


def _frames(seconds: float) -> list[Figure]:
    """From the bytes of a frame to the event, and back; `struct` alone cuts the same head without looking at it."""
    response = ccid.Response(0x80, 7, data=bytes(32))
    command = ccid.Command(0x6F, 7, data=bytes(32))
    neo = neo2.NeoResponse(2, 0, bytes(32))
    packet = pinpad.Packet("71.0" + "1234567890ABCDEF")
    head = struct.Struct("<BIBBBBB")
    raw = ccid.build_response(response)
    cases: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("CCID response, parse", lambda: ccid.parse_response(raw)),
        ("CCID command, build", lambda: ccid.build_command(command)),
        ("serial CCID frame to event", _scan(ccid.serial_scanner, ccid.serial_frame(raw))),
        ("NEO response to event", _scan(neo2.response_scanner, neo2.build_response(neo))),
        ("PIN pad packet to event", _scan(pinpad.packet_scanner, pinpad.build_packet(packet))),
        ("PIN pad packet, build", lambda: pinpad.build_packet(packet)),
        ("printer's automatic status to event", _scan(escpos.event_scanner, bytes((0x10, 0, 0, 0)))),
    )
    bare = rate(lambda: (head.unpack_from(raw), raw[10:]), seconds)
    subject = "Device frames a second of CPU"
    return [
        Figure(subject, name, found := rate(work, seconds), "", baseline_name="struct alone", baseline=bare,
               note=f"{1e6 / found:.0f} us each")
        for name, work in cases
    ]  # fmt: skip


def _scan(make: Callable[[], Any], frame: bytes) -> Callable[[], Any]:
    scanner = make()
    if not scanner.feed(frame):
        raise RuntimeError(f"{len(frame)} bytes are no frame for {make.__name__}")
    return lambda: scanner.feed(frame)


def _receipt(seconds: float) -> list[Figure]:
    """A slip of 40 lines with a logo: into the printer's bytes, against sending them at 38,400 baud."""
    logo = escpos.Logo(384, bytes(48 * 120))
    lines = tuple(escpos.Pair(f"名称 name {number}", f"{number}.00") for number in range(40))
    slip = escpos.Slip((logo, *lines, escpos.CutPaper()))
    made_ms = 1000 / rate(lambda: escpos.render(slip), seconds)
    wire_ms = 1000 * len(escpos.render(slip)) * 10 / 38_400
    subject = "Printing"
    return [Figure(subject, "40 lines with a logo, made", made_ms, "ms", baseline_name="on the wire", baseline=wire_ms)]
