"""The simulated card reader: frames, cards, faults. Times are given, nothing sleeps."""

from __future__ import annotations

from functools import reduce
from operator import xor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.devices.card import EmvCard, card_names, load_card
from hwsim.devices.des import retail_mac
from hwsim.devices.reader import SerialReader
from hwsim.errors import BenchError

GET_STATUS = bytes.fromhex("03066500000000000100000061")
NAK = bytes.fromhex("031516")
PSE_SELECT = "00A404000E315041592E5359532E4444463031"


def framed(message: bytes) -> bytes:
    body = b"\x03\x06" + message
    return body + bytes([reduce(xor, body)])


def ccid(kind: int, data: bytes = b"", sequence: int = 1) -> bytes:
    return framed(bytes([kind]) + len(data).to_bytes(4, "little") + bytes([0, sequence, 0, 0, 0]) + data)


def answer_of(reader: SerialReader, command: bytes, now: float = 0.0) -> bytes:
    """The CCID answer, after the echo was checked and taken away."""
    said = reader.feed(command, now)
    assert said.startswith(command)
    return said[len(command) + 2 : -1]


def transmit(reader: SerialReader, command: str) -> bytes:
    """One card command with GET RESPONSE and the right length, as T=0 wants it."""
    answer = answer_of(reader, ccid(0x6F, bytes.fromhex(command)))[10:]
    if answer[-2] == 0x61:
        return transmit(reader, f"00C00000{answer[-1]:02X}")
    if answer[-2] == 0x6C:
        return transmit(reader, command[:8] + f"{answer[-1]:02X}")
    return answer


@pytest.fixture
def reader() -> SerialReader:
    reader = SerialReader()
    reader.insert_card("unionpay-credit")
    reader.tick(0.0)
    answer_of(reader, ccid(0x62))
    return reader


def select_application(reader: SerialReader) -> None:
    assert transmit(reader, "00A4040008A000000333010102").endswith(b"\x90\x00")
    assert transmit(reader, "80A800000C830A0156E0F8C8F000F0A001").endswith(b"\x90\x00")


def first_data(amount: str = "000000000100") -> bytes:
    return bytes.fromhex(
        amount + "000000000000" + "0156" + "0000000000" + "0156" + "261122" + "00" + "11223344" + "120000"
    )


def generate(reader: SerialReader, control: int, data: bytes) -> bytes:
    return transmit(reader, f"80AE{control:02X}00{len(data):02X}{data.hex()}")


def test_an_empty_reader_echoes_and_says_that_there_is_no_card() -> None:
    said = SerialReader().feed(GET_STATUS, 0.0)
    assert said == GET_STATUS + bytes.fromhex("03068100000000000102000186")


def test_a_command_byte_by_byte_gets_the_same_answer() -> None:
    reader = SerialReader()
    said = b"".join(reader.feed(bytes([byte]), 0.01 * at) for at, byte in enumerate(GET_STATUS))
    assert said == SerialReader().feed(GET_STATUS, 0.0)


def test_two_commands_in_one_read_are_both_answered() -> None:
    assert SerialReader().feed(GET_STATUS + GET_STATUS, 0.0) == SerialReader().feed(GET_STATUS, 0.0) * 2


def test_a_wrong_lrc_is_refused() -> None:
    assert SerialReader().feed(GET_STATUS[:-1] + b"\x00", 0.0) == NAK


def test_a_nak_brings_the_last_answer_again() -> None:
    reader = SerialReader()
    said = reader.feed(GET_STATUS, 0.0)
    assert reader.feed(NAK, 0.1) == said[len(GET_STATUS) :]


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_after_any_bytes_and_a_pause_the_next_command_works(noise: bytes) -> None:
    reader = SerialReader()
    reader.insert_card("unionpay-credit")
    reader.feed(noise, 0.0)
    assert answer_of(reader, ccid(0x62, sequence=9), 10.0)[:1] == b"\x80"


def test_insertion_and_removal_are_told_between_frames() -> None:
    reader = SerialReader()
    reader.insert_card("visa-credit")
    assert reader.tick(0.0) == b"\x50\x03"
    reader.remove_card()
    assert reader.tick(0.1) == b"\x50\x02"


def test_in_synchronous_mode_a_movement_is_told_before_the_next_answer() -> None:
    reader = SerialReader()
    reader.feed(ccid(0x6B, b"\x01\x01\x01"), 0.0)
    reader.insert_card("visa-credit")
    assert reader.tick(0.1) == b""
    said = reader.feed(GET_STATUS, 0.2)
    assert said[len(GET_STATUS) :].startswith(b"\x50\x03\x03\x06\x81")


def test_power_on_gives_the_answer_to_reset() -> None:
    reader = SerialReader()
    reader.insert_card("unionpay-credit")
    reader.tick(0.0)
    answer = answer_of(reader, ccid(0x62))
    assert answer[10:].hex().upper() == "3B6800000073C84000009000"
    assert answer[7] == 0


def test_the_payment_environment_leads_to_the_application(reader: SerialReader) -> None:
    assert b"1PAY.SYS.DDF01" in transmit(reader, PSE_SELECT)
    assert bytes.fromhex("4F08A000000333010102") in transmit(reader, "00B2010C00")
    assert transmit(reader, "00B2020C00") == b"\x6a\x83"


def test_the_records_hold_track_and_account(reader: SerialReader) -> None:
    select_application(reader)
    assert bytes.fromhex("57126212345678900000003D301222000000000F") in transmit(reader, "00B2010C00")
    assert bytes.fromhex("5A0A6212345678900000003F") in transmit(reader, "00B2011400")


def test_a_record_before_processing_options_belongs_to_what_is_selected(reader: SerialReader) -> None:
    assert transmit(reader, "00B2011400") == b"\x6a\x82"


def test_a_wrong_expected_length_is_answered_with_the_right_one(reader: SerialReader) -> None:
    transmit(reader, PSE_SELECT)
    answer = answer_of(reader, ccid(0x6F, bytes.fromhex("00B2010C05")))[10:]
    assert answer[0] == 0x6C


def test_the_cryptogram_can_be_computed_again(reader: SerialReader) -> None:
    select_application(reader)
    answer = generate(reader, 0x80, first_data())
    signed = first_data() + bytes.fromhex("7C000001A0000080")
    expected = retail_mac(bytes.fromhex("0123456789ABCDEF1122334455667788"), signed)
    assert bytes.fromhex("9F2608") + expected in answer
    assert bytes.fromhex("9F270180") in answer


def test_the_second_decision_follows_the_host(reader: SerialReader) -> None:
    select_application(reader)
    generate(reader, 0x80, first_data())
    assert bytes.fromhex("9F270140") in generate(reader, 0x40, b"00" + first_data())
    assert reader.state()["card"]["decisions"] == ["ARQC 1", "TC 1"]  # type: ignore[index]


def test_the_refusing_card_says_no_after_an_approval() -> None:
    reader = SerialReader()
    reader.insert_card("unionpay-second-ac-refused")
    reader.tick(0.0)
    answer_of(reader, ccid(0x62))
    select_application(reader)
    assert bytes.fromhex("9F270180") in generate(reader, 0x80, first_data())
    assert bytes.fromhex("9F270100") in generate(reader, 0x40, b"00" + first_data())


def test_a_third_cryptogram_is_refused(reader: SerialReader) -> None:
    select_application(reader)
    generate(reader, 0x80, first_data())
    generate(reader, 0x40, b"00" + first_data())
    assert generate(reader, 0x40, b"00" + first_data()) == b"\x69\x85"


def test_the_counter_survives_the_power_of_the_reader(reader: SerialReader) -> None:
    select_application(reader)
    reader.apply_fault("brown-out", seconds=0.1)
    reader.tick(1.0)
    answer_of(reader, ccid(0x62), 1.0)
    select_application(reader)
    assert transmit(reader, "80CA9F3600") == bytes.fromhex("9F360200029000")


def test_three_wrong_pins_block_the_card(reader: SerialReader) -> None:
    select_application(reader)
    wrong = "0020008008241111FFFFFFFFFF"
    assert [transmit(reader, wrong) for _ in range(4)] == [b"\x63\xc2", b"\x63\xc1", b"\x63\xc0", b"\x69\x83"]


def test_the_right_pin_gives_the_tries_back(reader: SerialReader) -> None:
    select_application(reader)
    transmit(reader, "0020008008241111FFFFFFFFFF")
    assert transmit(reader, "002000800826123456FFFFFFFF") == b"\x90\x00"
    assert reader.state()["card"]["pin_tries"] == 3  # type: ignore[index]


def test_a_pulled_card_makes_the_command_fail_and_is_told(reader: SerialReader) -> None:
    reader.apply_fault("card-pulled", after_commands=2)
    assert transmit(reader, "80CA9F1704") == bytes.fromhex("9F1701039000")
    command = ccid(0x6F, bytes.fromhex(PSE_SELECT))
    said = reader.feed(command, 1.0)
    assert said[len(command) :][:2] == b"\x50\x02"
    assert said[len(command) + 2 + 2 + 7] == 0x42


def test_a_mute_card_gives_the_error_of_a_mute_card(reader: SerialReader) -> None:
    reader.apply_fault("card-mute")
    assert answer_of(reader, ccid(0x6F, bytes.fromhex(PSE_SELECT)))[7:9] == b"\x40\xfe"


def test_a_wrong_answer_to_reset_is_an_error(reader: SerialReader) -> None:
    reader.apply_fault("wrong-atr")
    assert answer_of(reader, ccid(0x62))[8] == 0xF8


def test_a_slow_card_asks_for_time_and_answers_later() -> None:
    reader = SerialReader()
    reader.insert_card("unionpay-slow")
    reader.tick(0.0)
    answer_of(reader, ccid(0x62))
    select_application(reader)
    data = first_data()
    command = ccid(0x6F, bytes.fromhex(f"80AE8000{len(data):02X}{data.hex()}"))
    assert reader.feed(command, 5.0) == command + b"\x81"
    assert reader.next_wake() == pytest.approx(5.5)
    assert reader.tick(6.9) == b"\x81\x81\x81"
    assert reader.tick(7.0)[-3:-2] == b"\x61"
    assert reader.next_wake() is None


def test_while_the_card_thinks_the_slot_is_busy() -> None:
    reader = SerialReader()
    reader.insert_card("unionpay-slow")
    reader.tick(0.0)
    answer_of(reader, ccid(0x62))
    select_application(reader)
    data = first_data()
    reader.feed(ccid(0x6F, bytes.fromhex(f"80AE8000{len(data):02X}{data.hex()}")), 5.0)
    assert answer_of(reader, ccid(0x65, sequence=7), 5.1)[8] == 0xE0


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (bytes.fromhex("62000000000101000000"), 5),
        (bytes.fromhex("6A000000000001000000"), 0),
        (bytes.fromhex("6F030000000001000000") + b"\x00\xa4\x04", 1),
        (bytes.fromhex("61070000000001020000") + bytes(7), 7),
        (bytes.fromhex("61050000000001010000") + bytes(5), 1),
    ],
)
def test_a_bad_parameter_is_named_by_its_offset(reader: SerialReader, message: bytes, error: int) -> None:
    answer = answer_of(reader, framed(message))
    assert (answer[7] & 0xC0, answer[8]) == (0x40, error)


def test_protocol_selection_is_echoed_by_the_card(reader: SerialReader) -> None:
    assert answer_of(reader, ccid(0x6F, bytes.fromhex("FF10957A")))[10:] == bytes.fromhex("FF10957A")


def test_parameters_are_kept_until_reset(reader: SerialReader) -> None:
    answer_of(reader, ccid(0x61, bytes.fromhex("9500000A00")))
    assert answer_of(reader, ccid(0x6C))[10:] == bytes.fromhex("9500000A00")
    assert answer_of(reader, ccid(0x6D))[10:] == bytes.fromhex("1100000A00")


def test_an_unplugged_reader_is_silent_and_forgets() -> None:
    reader = SerialReader()
    reader.apply_fault("unplug", seconds=2.0)
    assert reader.feed(GET_STATUS, 1.0) == b""
    reader.tick(2.0)
    assert reader.plugged
    assert reader.feed(GET_STATUS, 2.1).startswith(GET_STATUS)


def test_the_state_shows_no_whole_card_number(reader: SerialReader) -> None:
    assert "6212345678900000003" not in str(reader.state())
    assert "621234" in str(reader.state())


@pytest.mark.parametrize("name", card_names())
def test_every_card_of_the_bench_can_be_read(name: str) -> None:
    card = EmvCard(load_card(name))
    aid = card.spec.data("aid")
    assert card.transmit(b"\x00\xa4\x04\x00" + bytes([len(aid)]) + aid)[0] == 0x61


def test_an_unknown_card_is_a_clear_error() -> None:
    with pytest.raises(BenchError, match="no test card 'gold'"):
        SerialReader().insert_card("gold")


def test_an_unknown_fault_is_a_clear_error() -> None:
    with pytest.raises(BenchError, match="no fault 'fire'"):
        SerialReader().apply_fault("fire")
    with pytest.raises(BenchError, match="does not take height"):
        SerialReader().apply_fault("card-mute", height=3)


@settings(max_examples=100)
@given(st.binary(max_size=260))
def test_a_card_answers_any_command_with_a_status_word(command: bytes) -> None:
    card = EmvCard(load_card("unionpay-credit"))
    assert len(card.transmit(command)) >= 2


@pytest.mark.parametrize("length", range(1, len(GET_STATUS)))
def test_half_a_command_is_forgotten_after_a_pause(length: int) -> None:
    reader = SerialReader()
    assert reader.feed(GET_STATUS[:length], 0.0) == b""
    assert reader.feed(GET_STATUS, 1.0) == SerialReader().feed(GET_STATUS, 0.0)


def test_a_long_half_frame_does_not_swallow_the_next_command() -> None:
    reader = SerialReader()
    reader.feed(bytes.fromhex("03066F00010000000200000000A40400"), 0.0)
    assert reader.feed(GET_STATUS, 1.0) == SerialReader().feed(GET_STATUS, 0.0)


def test_a_card_does_not_complete_what_the_host_declined(reader: SerialReader) -> None:
    select_application(reader)
    generate(reader, 0x80, first_data())
    assert bytes.fromhex("9F270100") in generate(reader, 0x40, b"05" + first_data())


def test_external_authentication_is_taken_between_the_two_decisions_only(reader: SerialReader) -> None:
    select_application(reader)
    assert transmit(reader, "008200000A" + "00" * 10) == b"\x69\x85"
    generate(reader, 0x80, first_data())
    assert transmit(reader, "008200000A" + "00" * 10) == b"\x90\x00"


def test_a_reader_error_is_told_once(reader: SerialReader) -> None:
    reader.apply_fault("hardware-error")
    assert [answer_of(reader, ccid(0x65))[8] for _ in range(2)] == [0xFB, 0x00]


def test_time_can_be_asked_for_by_whole_messages() -> None:
    reader = SerialReader()
    reader.apply_fault("framed-time-request")
    reader.insert_card("unionpay-slow")
    reader.tick(0.0)
    answer_of(reader, ccid(0x62))
    select_application(reader)
    data = first_data()
    command = ccid(0x6F, bytes.fromhex(f"80AE8000{len(data):02X}{data.hex()}"), sequence=9)
    waiting = reader.feed(command, 5.0)[len(command) :]
    assert (waiting[8], waiting[9]) == (9, 0x80)
