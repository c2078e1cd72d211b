"""The chip card reader against dialogues written from the GemPC Twin's documents and EMV's examples."""

from __future__ import annotations

import time

import pytest

from drivers.emv_session import CardData, TerminalData
from drivers.errors import (
    CardGone,
    CardMute,
    CardRefused,
    CardUnreadable,
    DeviceGarbled,
    DeviceRefused,
    DeviceTimeout,
    NoCard,
    PortGone,
)
from drivers.port import BytePort, deadline_in
from drivers.reader_ccid import CcidReader
from protocol import ccid
from protocol.iso7816 import Apdu
from tests.unit.scripted_port import AnsweringPort, ScriptedPort, Turn

h = bytes.fromhex
ATR_T0 = h("3B 68 00 00 00 73 C8 40 12 00 90 00")
ATR_T1 = h("3B 80 01 81")


def reader_on(port: BytePort) -> CcidReader:
    return CcidReader("scripted:", lambda: port)


def command(type_: int, seq: int, data: bytes = b"", specific: bytes = b"\0\0\0") -> bytes:
    """The serial frame of a command."""
    return ccid.serial_frame(ccid.build_command(ccid.Command(type_, seq, specific, data)))


def answer(type_: int, seq: int, data: bytes = b"", status: int = 0, error: int = 0) -> bytes:
    """The serial frame of a response."""
    return ccid.serial_frame(ccid.build_response(ccid.Response(type_, seq, status, error, 0, data)))


def turn(request: bytes, *answers: bytes) -> Turn:
    """The reader first echoes the command."""
    return Turn(request, request + b"".join(answers))


GREETING = (
    turn(h("03 06 6B 01 00 00 00 00 01 00 00 00 02 6C"), answer(0x83, 1, b"GemTwin-V2.00")),
    turn(command(0x6B, 2, h("01 01 01")), answer(0x83, 2)),
)
NO_CARD = turn(command(0x65, 3), answer(0x81, 3, status=2))
CARD_IN = turn(command(0x65, 3), answer(0x81, 3, status=1))
POWERED = (
    turn(command(0x65, 4), answer(0x81, 4, status=1)),
    turn(command(0x62, 5, specific=b"\1\0\0"), answer(0x80, 5, ATR_T0)),
    turn(command(0x61, 6, h("11 00 00 0A 00")), answer(0x82, 6, h("11 00 00 0A 00"))),
)


def opened(*turns: Turn) -> tuple[CcidReader, ScriptedPort]:
    port = ScriptedPort(*GREETING, CARD_IN, *turns)
    reader = reader_on(port)
    reader.open(deadline_in(5))
    return reader, port


def powered(*turns: Turn) -> tuple[CcidReader, ScriptedPort]:
    reader, port = opened(*POWERED, *turns)
    reader.wait_card(1)
    return reader, port


def transmit(reader: CcidReader, apdu: Apdu, seconds: float = 2) -> tuple[str, int]:
    got = reader.channel().transmit(apdu, deadline_in(seconds))
    return got.data.hex().upper(), got.sw


READ = Apdu(0, 0xB2, 1, 0x0C, b"", 0)


def test_opening_greets_the_reader_and_learns_its_firmware() -> None:
    reader, port = opened()
    assert (reader.firmware, reader.detail) == ("GemTwin-V2.00", "card in")
    assert port.finished


def test_a_card_is_powered_and_its_atr_is_typed() -> None:
    reader, port = opened(*POWERED)
    atr = reader.wait_card(1)
    assert (atr.raw, atr.protocol) == (ATR_T0, 0)
    assert port.finished


def test_no_card_before_the_deadline_is_a_typed_error() -> None:
    port = ScriptedPort(*GREETING, NO_CARD, turn(command(0x65, 4), answer(0x81, 4, status=2)))
    reader = reader_on(port)
    reader.open(deadline_in(5))
    with pytest.raises(NoCard):
        reader.wait_card(0)
    assert reader.detail == "no card"


def test_a_card_that_is_put_in_is_noticed_between_commands() -> None:
    port = ScriptedPort(*GREETING, NO_CARD)
    reader = reader_on(port)
    reader.open(deadline_in(5))
    port.say(h("50 03"))
    reader.idle()
    assert reader.detail == "card in"
    port.say(h("50 02"))
    reader.idle()
    assert reader.detail == "no card"


def test_the_next_voltage_is_tried_when_the_card_is_mute() -> None:
    reader, port = opened(
        turn(command(0x65, 4), answer(0x81, 4, status=1)),
        turn(command(0x62, 5, specific=b"\1\0\0"), answer(0x80, 5, status=0x41, error=0xFE)),
        turn(command(0x62, 6, specific=b"\2\0\0"), answer(0x80, 6, ATR_T0)),
        turn(command(0x61, 7, h("11 00 00 0A 00")), answer(0x82, 7)),
    )
    assert reader.wait_card(1).protocol == 0
    assert port.finished


def test_a_card_mute_at_every_voltage_is_a_typed_error() -> None:
    turns = [turn(command(0x65, 4), answer(0x81, 4, status=1))]
    turns += [
        turn(command(0x62, 4 + n, specific=bytes([n, 0, 0])), answer(0x80, 4 + n, status=0x41, error=0xFE))
        for n in (1, 2, 3)
    ]
    reader, _ = opened(*turns)
    with pytest.raises(CardMute):
        reader.wait_card(1)


def test_a_wrong_atr_is_a_typed_error() -> None:
    reader, _ = opened(
        turn(command(0x65, 4), answer(0x81, 4, status=1)),
        turn(command(0x62, 5, specific=b"\1\0\0"), answer(0x80, 5, h("3B 6F 00"))),
    )
    with pytest.raises(CardUnreadable):
        reader.wait_card(1)


def test_a_pps_is_sent_for_a_faster_card_and_the_reader_is_told() -> None:
    atr = h("3B 12 95 41 42")  # TA1 = 95: Fi 512, Di 16
    reader, port = opened(
        turn(command(0x65, 4), answer(0x81, 4, status=1)),
        turn(command(0x62, 5, specific=b"\1\0\0"), answer(0x80, 5, atr)),
        turn(command(0x6F, 6, h("FF 10 95 7A")), answer(0x80, 6, h("FF 10 95 7A"))),
        turn(command(0x61, 7, h("95 00 00 0A 00")), answer(0x82, 7)),
    )
    assert reader.wait_card(1).ta1 == 0x95
    assert port.finished


def test_61xx_is_followed_by_get_response_and_6cxx_by_the_right_length() -> None:
    select = Apdu(0, 0xA4, 4, 0, b"\xa0\0", 0)
    reader, port = powered(
        turn(command(0x6F, 7, h("00 A4 04 00 02 A0 00")), answer(0x80, 7, h("61 03"))),
        turn(command(0x6F, 8, h("00 C0 00 00 03")), answer(0x80, 8, h("6F 01 84 90 00"))),
        turn(command(0x6F, 9, h("00 B2 01 0C 00")), answer(0x80, 9, h("6C 02"))),
        turn(command(0x6F, 10, h("00 B2 01 0C 02")), answer(0x80, 10, h("70 00 90 00"))),
    )
    assert transmit(reader, select) == ("6F0184", 0x9000)
    assert transmit(reader, READ) == ("7000", 0x9000)
    assert port.finished


def test_time_extensions_are_waited_for() -> None:
    busy = answer(0x80, 7, status=0x80, error=1)
    reader, port = powered(turn(command(0x6F, 7, h("00 B2 01 0C 00")), busy, h("81"), answer(0x80, 7, h("9000"))))
    assert transmit(reader, READ) == ("", 0x9000)
    assert (reader.counters["time_extensions"], reader.counters["time_requests"]) == (1, 1)
    assert port.finished


def test_a_damaged_answer_is_asked_for_again_without_repeating_the_command() -> None:
    good = answer(0x80, 7, h("9000"))
    reader, port = powered(
        turn(command(0x6F, 7, h("00 B2 01 0C 00")), good[:-1] + b"\x00"),
        Turn(h("03 15 16"), good),
    )
    assert transmit(reader, READ) == ("", 0x9000)
    assert port.finished


def test_an_answer_that_breaks_off_is_asked_for_long_before_the_deadline() -> None:
    good = answer(0x80, 7, h("9000"))
    reader, port = powered(turn(command(0x6F, 7, h("00 B2 01 0C 00")), good[:-4]), Turn(h("03 15 16"), good))
    started = time.monotonic()
    assert transmit(reader, READ, 10) == ("", 0x9000)
    assert time.monotonic() - started < 2
    assert port.finished


def test_a_nak_of_the_reader_repeats_the_command_three_times_at_most() -> None:
    request = command(0x6F, 7, h("00 B2 01 0C 00"))
    nak = h("03 15 16")
    reader, port = powered(Turn(request, nak), turn(request, answer(0x80, 7, h("9000"))))
    assert transmit(reader, READ) == ("", 0x9000)
    assert port.finished
    reader, _ = powered(Turn(request, nak), Turn(request, nak), Turn(request, nak))
    with pytest.raises(DeviceGarbled):
        transmit(reader, READ)


def test_a_silent_reader_never_gets_a_card_command_twice() -> None:
    reader, port = powered(turn(command(0x6F, 7, h("00 B2 01 0C 00"))))
    reader.link.answer_timeout_s = 0.05
    with pytest.raises(DeviceTimeout):
        transmit(reader, READ, 1)
    assert port.finished


def test_a_harmless_command_is_sent_again_after_silence() -> None:
    reader, port = opened(turn(command(0x65, 4)), turn(command(0x65, 4), answer(0x81, 4, status=1)))
    reader.link.answer_timeout_s = 0.05
    assert reader.slot_status(deadline_in(2)) is True
    assert port.finished


def test_an_old_answer_is_not_taken_for_the_new_one() -> None:
    request = command(0x6F, 7, h("00 B2 01 0C 00"))
    reader, _ = powered(turn(request, answer(0x80, 6, h("6A82")), answer(0x80, 7, h("9000"))))
    assert transmit(reader, READ) == ("", 0x9000)
    assert reader.counters["stale_answers"] == 1


@pytest.mark.parametrize("noise", [b"\x00\x41", b"\x50\x02\x00", b"\x41\x91\xff"])
def test_noise_before_an_answer_does_not_hurt(noise: bytes) -> None:
    request = command(0x6F, 7, h("00 B2 01 0C 00"))
    reader, port = powered(turn(request, noise + answer(0x80, 7, h("9000"))))
    assert transmit(reader, READ) == ("", 0x9000)
    assert port.finished


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (0x42, 0xFE, CardGone),
        (0x42, 0x00, CardGone),
        (0x40, 0xFE, CardMute),
        (0x41, 0xF8, CardUnreadable),
    ],
)
def test_every_failure_is_its_own_error(status: int, error: int, kind: type[Exception]) -> None:
    reader, _ = powered(turn(command(0x6F, 7, h("00 B2 01 0C 00")), answer(0x80, 7, status=status, error=error)))
    with pytest.raises(kind):
        transmit(reader, READ)


@pytest.mark.parametrize("error", [0x00, 0x05, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xFB, 0xFC, 0xFD, 0xFF, 0xE0, 0x90])
def test_a_refusal_carries_the_readers_own_word(error: int) -> None:
    reader, _ = powered(turn(command(0x6F, 7, h("00 B2 01 0C 00")), answer(0x80, 7, status=0x40, error=error)))
    with pytest.raises(DeviceRefused) as caught:
        transmit(reader, READ)
    assert caught.value.reason == ccid.error_name(error)


def test_a_reader_that_is_unplugged_is_a_gone_port() -> None:
    reader, port = powered()
    port.close()
    with pytest.raises(PortGone):
        transmit(reader, READ)


# ---------------------------------------------------------------- T=1


class T1Card:
    """A card that speaks T=1 in blocks of `ifsc`; `wtx` first asks for time."""

    def __init__(self, answers: dict[bytes, bytes], wtx: bool = False, spoil: int = 0) -> None:
        self._answers = answers
        self._received = b""
        self._blocks: list[bytes] = []
        self._sequence = 0
        self._wtx, self._spoil = wtx, spoil

    def block(self, raw: bytes) -> bytes:
        pcb, inf = raw[1], raw[3:-1]
        if pcb == 0xC1:  # the reader's own block size, told once after power-on
            return self._framed(0xE1, inf)
        if pcb & 0x80 == 0:
            self._received += inf
            if pcb & 0x20:
                return self._framed(0x80 | (((pcb >> 6) & 1) ^ 1) << 4)
            whole, self._received = self._answers[self._received], b""
            self._blocks = [whole[i : i + 4] for i in range(0, len(whole), 4)]
            if self._wtx:
                return self._framed(0xC3, b"\x01")
        if pcb & 0xC0 == 0x80 and pcb & 0x0F:
            return self._last
        return self._next()

    def _next(self) -> bytes:
        inf = self._blocks.pop(0)
        good = self._framed(self._sequence << 6 | (0x20 if self._blocks else 0), inf)
        self._sequence ^= 1
        self._last = good
        if self._spoil:
            self._spoil -= 1
            return good[:-1] + bytes([good[-1] ^ 0xFF])
        return good

    @staticmethod
    def _framed(pcb: int, inf: bytes = b"") -> bytes:
        body = bytes([0, pcb, len(inf)]) + inf
        check = 0
        for byte in body:
            check ^= byte
        return body + bytes([check])


def t1_reader(card: T1Card) -> CcidReader:
    def respond(frame: bytes) -> bytes:
        asked = ccid.parse_command(ccid.unframe(frame))
        if asked.type == ccid.XFR_BLOCK:
            return answer(0x80, asked.seq, card.block(asked.data))
        types = {0x62: (0x80, ATR_T1), 0x65: (0x81, b""), 0x6B: (0x83, b""), 0x61: (0x82, b"")}
        return answer(types[asked.type][0], asked.seq, types[asked.type][1])

    reader = reader_on(AnsweringPort(respond))
    reader.open(deadline_in(5))
    reader.wait_card(1)
    return reader


LONG = Apdu(0, 0xA4, 4, 0, bytes(range(60)), 0)  # two blocks of 32
DIALOGUE = {LONG.encode(): h("6F 04 84 02 A0 00 90 00"), READ.encode(): h("70 00 90 00")}


@pytest.mark.parametrize(("wtx", "spoil"), [(False, 0), (True, 0), (False, 1), (False, 2)])
def test_t1_chains_both_ways_and_survives_time_requests_and_damaged_blocks(wtx: bool, spoil: int) -> None:
    reader = t1_reader(T1Card(DIALOGUE, wtx, spoil))
    assert transmit(reader, LONG) == ("6F048402A000", 0x9000)
    assert transmit(reader, READ) == ("7000", 0x9000)


def test_t1_gives_up_after_three_damaged_blocks() -> None:
    broken = t1_reader(AlwaysBroken(DIALOGUE))
    with pytest.raises(DeviceGarbled):
        transmit(broken, READ)


class AsksAgain(T1Card):
    """The card has lost the first block of a chain, once."""

    asked = False

    def block(self, raw: bytes) -> bytes:
        if raw[1] & 0xA0 == 0x20 and not self.asked:
            self.asked = True
            return self._framed(0x80 | ((raw[1] >> 6) & 1) << 4)
        return super().block(raw)


def test_t1_repeats_a_block_of_a_chain_that_the_card_asks_for_again() -> None:
    reader = t1_reader(AsksAgain(DIALOGUE))
    assert transmit(reader, LONG) == ("6F048402A000", 0x9000)


class AlwaysBroken(T1Card):
    """Every block has a wrong check byte."""

    def block(self, raw: bytes) -> bytes:
        return h("00 00 00 FF")


# ---------------------------------------------------------------- EMV

PAN_HEX = "6212345678901232"


def _tlv(tag: str, body: str) -> str:
    size = len(h(body))
    return tag + f"{size:02X}" + body


FCI_HEX = _tlv("6F", _tlv("84", "A000000333010101") + _tlv("A5", _tlv("50", "554E494F") + _tlv("9F38", "9F02069F3704")))
TRACK2 = f"{PAN_HEX}D25122010000000000000F"
RECORD1_HEX = _tlv("70", _tlv("57", TRACK2) + _tlv("5A", PAN_HEX))
CDOL1, CDOL2 = "9F020695059F3704", "8A029505"
RECORD2_HEX = _tlv("70", _tlv("5F24", "251231") + _tlv("5F34", "01") + _tlv("8C", CDOL1) + _tlv("8D", CDOL2))
DIRECTORY_HEX = _tlv(
    "70", _tlv("61", _tlv("4F", "A000000333010101") + _tlv("50", "554E494F4E504159") + _tlv("87", "01"))
)
TERMINAL = TerminalData(amount_minor=1234, unpredictable="01020304", date="260101")

CARD = {
    "00A404000E" + b"1PAY.SYS.DDF01".hex().upper(): _tlv("6F", _tlv("A5", _tlv("88", "01"))) + "9000",
    "00B2010C": DIRECTORY_HEX + "9000",
    "00B2020C": "6A83",
    "00A4040008A000000333010101": FCI_HEX + "9000",
    "80A800000C830A" + "00000000123401020304": _tlv("77", _tlv("82", "1C00") + _tlv("94", "08010200")) + "9000",
    "80AE80000F" + "000000001234" + "0000000000" + "01020304": _tlv(
        "77", _tlv("9F27", "80") + _tlv("9F36", "0042") + _tlv("9F26", "1122334455667788") + _tlv("9F10", "0706")
    )
    + "9000",
    "0082000008AABBCCDDEEFF0011": "9000",
    "80AE400007" + "3030" + "0000000000": _tlv("80", "40" + "0042" + "8877665544332211" + "0709") + "9000",
    "80AE000007" + "3035" + "0000000000": _tlv("80", "00" + "0042" + "8877665544332211" + "0709") + "9000",
    "80CA9F36": _tlv("9F36", "0042") + "9000",
    "80CA9F13": _tlv("9F13", "0042") + "9000",
}
AFL_RECORDS = {"00B2010C": RECORD1_HEX + "9000", "00B2020C": RECORD2_HEX + "9000"}


class EmvCard:
    """A test card at APDU level behind a T=0 reader; `pull_at` names the instruction that it never answers."""

    def __init__(self, changes: dict[str, str] | None = None, pull_at: int | None = None) -> None:
        self._answers = CARD | (changes or {})
        self._pull_at = pull_at
        self._initiated = False
        self._waiting = b""

    def respond(self, frame: bytes) -> bytes:
        asked = ccid.parse_command(ccid.unframe(frame))
        if asked.type == ccid.XFR_BLOCK:
            if self._pull_at == asked.data[1]:
                return frame + h("50 02") + answer(0x80, asked.seq, status=0x42, error=0xFE)
            return frame + answer(0x80, asked.seq, self._apdu(asked.data))
        types = {0x62: (0x80, ATR_T0), 0x65: (0x81, b""), 0x6B: (0x83, b""), 0x61: (0x82, b""), 0x63: (0x81, b"")}
        return frame + answer(types[asked.type][0], asked.seq, types[asked.type][1])

    def _apdu(self, tpdu: bytes) -> bytes:
        if tpdu[1] == 0xC0:
            data, self._waiting = self._waiting, b""
            return data
        key = tpdu.hex().upper()
        self._initiated |= tpdu[1] == 0xA8
        table = self._answers | AFL_RECORDS if self._initiated else self._answers
        found = h(table.get(key) or table.get(key[:8]) or "6A82")
        if len(found) > 2 and len(tpdu) > 5:
            self._waiting = found
            return bytes([0x61, len(found) - 2])
        return found


def emv_reader(card: EmvCard) -> CcidReader:
    reader = reader_on(AnsweringPort(card.respond))
    reader.open(deadline_in(5))
    reader.wait_card(1)
    return reader


def test_a_card_is_read_as_emv_says() -> None:
    card = emv_reader(EmvCard()).read_card(TERMINAL)
    assert card == CardData(PAN_HEX, "2512", f"{PAN_HEX}=25122010000000000000", "001", "UNIO", "A000000333010101")


def test_card_data_never_shows_the_card_number() -> None:
    card = emv_reader(EmvCard()).read_card(TERMINAL)
    assert PAN_HEX not in repr(card)
    assert "621234******1232" in repr(card)


def test_both_cryptograms_are_made_and_de_55_carries_them() -> None:
    reader = emv_reader(EmvCard())
    reader.read_card(TERMINAL)
    first = reader.first_generate_ac(TERMINAL)
    assert (first.kind, first.counter) == ("ARQC", "0042")
    assert first.chip_data.startswith("9F2608" + "1122334455667788" + "9F2701" + "80" + "9F1002" + "0706")
    assert "9F0206000000001234" in first.chip_data
    second = reader.second_generate_ac(True, "00", "9108" + "AABBCCDDEEFF0011")
    assert (second.kind, second.counter) == ("TC", "0042")
    assert "8877665544332211" in second.chip_data
    assert second.reversal_chip_data.startswith("9505")


def test_external_authenticate_is_sent_when_the_card_wants_it() -> None:
    sent: list[bytes] = []
    card = EmvCard(
        {"80A800000C830A00000000123401020304": _tlv("77", _tlv("82", "1C00") + _tlv("94", "08010200")) + "9000"}
    )

    def spy(frame: bytes) -> bytes:
        sent.append(frame)
        return card.respond(frame)

    reader = reader_on(AnsweringPort(spy))
    reader.open(deadline_in(5))
    reader.wait_card(1)
    reader.read_card(TERMINAL)
    reader.first_generate_ac(TERMINAL)
    reader.second_generate_ac(True, "00", "9108AABBCCDDEEFF0011")
    assert any(h("0082000008AABBCCDDEEFF0011") in frame for frame in sent)


def test_a_card_that_declines_after_approval_says_aac() -> None:
    declining = {"80AE400007" + "3030" + "0000000000": _tlv("80", "00" + "0042" + "8877665544332211" + "0709") + "9000"}
    reader = emv_reader(EmvCard(declining))
    reader.read_card(TERMINAL)
    reader.first_generate_ac(TERMINAL)
    assert reader.second_generate_ac(True, "00").kind == "AAC"


@pytest.mark.parametrize("instruction", [0xA4, 0xB2, 0xA8, 0xAE])
def test_a_card_pulled_at_any_step_is_card_gone(instruction: int) -> None:
    reader = emv_reader(EmvCard(pull_at=instruction))
    with pytest.raises(CardGone):
        _whole_sale(reader)
    with pytest.raises(CardGone):
        reader.read_card(TERMINAL)  # the session is over until a card is put in again


def _whole_sale(reader: CcidReader) -> None:
    reader.read_card(TERMINAL)
    reader.first_generate_ac(TERMINAL)
    reader.second_generate_ac(True, "00")


def test_a_card_without_an_accepted_application_is_unreadable() -> None:
    with pytest.raises(CardUnreadable):
        emv_reader(EmvCard({"00A4040008A000000333010101": "6A82"})).read_card(TERMINAL)


def test_a_refused_command_carries_the_status_word() -> None:
    with pytest.raises(CardRefused) as caught:
        emv_reader(EmvCard({"80A800000C830A00000000123401020304": "6985"})).read_card(TERMINAL)
    assert caught.value.sw == 0x6985


@pytest.mark.parametrize("record", ["70FF9000", "7003570100" + "9000", _tlv("70", _tlv("5A", "ABCD")) + "9000", "9000"])
def test_records_that_make_no_sense_are_typed_errors(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AFL_RECORDS, "00B2010C", record)
    with pytest.raises(CardUnreadable):
        emv_reader(EmvCard()).read_card(TERMINAL)


def test_a_card_whose_number_and_track_2_differ_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    other = _tlv("70", _tlv("57", TRACK2) + _tlv("5A", "6200000000000005"))
    monkeypatch.setitem(AFL_RECORDS, "00B2010C", other + "9000")
    with pytest.raises(CardUnreadable) as caught:
        emv_reader(EmvCard()).read_card(TERMINAL)
    assert "contradict" in str(caught.value)
    assert "6200" not in str(caught.value)


@pytest.mark.parametrize("chip_data", ["zz", "91FF", "7186", "72"])
def test_damaged_chip_data_of_the_host_is_a_typed_error(chip_data: str) -> None:
    reader = emv_reader(EmvCard())
    reader.read_card(TERMINAL)
    reader.first_generate_ac(TERMINAL)
    with pytest.raises(CardUnreadable):
        reader.second_generate_ac(True, "00", chip_data)


@pytest.mark.parametrize(
    ("reference", "last_online", "known"),
    [("0042", "0042", "done"), ("0042", "0041", "not done"), ("0041", "0042", "unknown"), ("0043", "0042", "unknown")],
)
def test_the_card_is_asked_what_became_of_a_transaction(reference: str, last_online: str, known: str) -> None:
    reader = emv_reader(EmvCard({"80CA9F13": _tlv("9F13", last_online) + "9000"}))
    assert reader.last_outcome(reference).known == known


def test_without_a_card_its_memory_is_unknown() -> None:
    port = ScriptedPort(*GREETING, NO_CARD, turn(command(0x65, 4), answer(0x81, 4, status=2)))
    reader = reader_on(port)
    reader.open(deadline_in(5))
    assert reader.last_outcome("0042").known == "unknown"


def test_a_reference_that_is_no_counter_is_unknown() -> None:
    assert emv_reader(EmvCard()).last_outcome("receipt 7").known == "unknown"
