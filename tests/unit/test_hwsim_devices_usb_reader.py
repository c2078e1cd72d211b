"""The reader on USB: whole messages, time requests by message, movements by notice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.devices.usb_reader import UsbReader

GET_STATUS = bytes.fromhex("65000000000001000000")
NO_CARD = bytes.fromhex("81000000000001020001")


def test_one_transfer_is_one_message() -> None:
    assert UsbReader().feed_frames(GET_STATUS, 0.0) == [NO_CARD]


def test_half_a_message_is_not_answered_and_the_next_whole_one_is() -> None:
    reader = UsbReader()
    assert reader.feed_frames(GET_STATUS[:6], 0.0) == []
    assert reader.feed_frames(GET_STATUS, 0.1) == [NO_CARD]
    assert reader.counters["broken transfers"] == 1


def test_movements_are_notices_not_answers() -> None:
    reader = UsbReader()
    reader.insert_card("visa-credit")
    reader.remove_card()
    assert reader.tick_frames(0.0) == []
    assert reader.take_notices() == [b"\x50\x03", b"\x50\x02"]
    assert reader.take_notices() == []


def test_a_reader_that_was_replugged_tells_its_slot_again() -> None:
    reader = UsbReader()
    reader.insert_card("visa-credit")
    reader.apply_fault("unplug")
    assert reader.take_notices() == []
    reader.apply_fault("replug")
    assert reader.take_notices() == [b"\x50\x03"]


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_after_any_transfers_the_next_command_works(transfers: list[bytes]) -> None:
    reader = UsbReader()
    for at, transfer in enumerate(transfers):
        reader.feed_frames(transfer, float(at))
    assert reader.feed_frames(GET_STATUS, 99.0) == [NO_CARD]
