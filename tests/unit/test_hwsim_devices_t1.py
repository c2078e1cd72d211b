"""The simulated card's end of T=1, block by block as ISO/IEC 7816-3 clause 11 writes them."""

from __future__ import annotations

import pytest

from hwsim.devices.card import EmvCard, load_card, parted
from hwsim.devices.card_t1 import T1Link, framed, r_block, s_block, well_formed
from hwsim.devices.reader import SerialReader
from hwsim.devices.usb_reader import UsbReader
from hwsim.errors import BenchError
from protocol.iso7816 import parse_atr

COMMAND = bytes.fromhex("00A4040000")
LONG = bytes(range(60))


class Card:
    """Answers each command with itself reversed and 9000; counts what it executed."""

    def __init__(self, think_s: float = 0.0) -> None:
        self.executed: list[bytes] = []
        self.think_s = think_s
        self.link = T1Link(self.apdu, lambda command: self.think_s, ifsc=32, size=8)

    def apdu(self, command: bytes) -> bytes:
        self.executed.append(command)
        return command[::-1] + b"\x90\x00"


def test_a_short_command_is_answered_by_one_block_with_the_cards_own_number() -> None:
    card = Card()
    assert card.link.block(framed(0x00, COMMAND)) == framed(0x00, COMMAND[::-1] + b"\x90\x00")
    assert card.link.block(framed(0x40, COMMAND)) == framed(0x40, COMMAND[::-1] + b"\x90\x00")


def test_chains_go_both_ways() -> None:
    card = Card()
    assert card.link.block(framed(0x20, LONG[:32])) == r_block(1)
    answer, number, whole = card.link.block(framed(0x40, LONG[32:])), 0, b""
    while answer is not None and answer[1] & 0x20:
        whole += answer[3:-1]
        number ^= 1
        answer = card.link.block(r_block(number))
    assert answer is not None
    assert whole + answer[3:-1] == LONG[::-1] + b"\x90\x00"
    assert card.executed == [LONG]


@pytest.mark.parametrize("damage", [b"", b"\0", framed(0, COMMAND)[:-1], framed(0, COMMAND)[:-1] + b"\xff"])
def test_a_damaged_block_is_asked_for_again_and_nothing_is_executed(damage: bytes) -> None:
    card = Card()
    assert card.link.block(damage) == r_block(0, 1)
    assert card.executed == []
    assert card.link.block(framed(0x00, COMMAND)) == framed(0x00, COMMAND[::-1] + b"\x90\x00")


def test_a_repeated_block_is_not_executed_twice_and_a_lost_answer_is_sent_again() -> None:
    card = Card()
    answer = card.link.block(framed(0x00, COMMAND))
    assert card.link.block(framed(0x00, COMMAND)) == r_block(1, 2)
    card = Card()
    answer = card.link.block(framed(0x00, COMMAND))
    assert card.link.block(r_block(0, 1)) == answer
    assert len(card.executed) == 1


def test_a_block_longer_than_the_card_takes_is_refused() -> None:
    assert Card().link.block(framed(0x00, bytes(33))) == r_block(0, 2)


def test_a_slow_card_asks_for_time_first_and_works_after_it_was_given() -> None:
    card = Card(think_s=2.0)
    assert card.link.block(framed(0x00, COMMAND)) == s_block(0xC3, b"\x02")
    assert card.executed == []
    assert card.link.work_s(s_block(0xE3, b"\x02")) == 2.0
    assert card.link.block(s_block(0xE3, b"\x07")) == r_block(1, 2)  # not what it asked for
    assert card.link.block(s_block(0xE3, b"\x02")) == framed(0x00, COMMAND[::-1] + b"\x90\x00")


def test_the_readers_block_size_holds_for_what_the_card_sends() -> None:
    card = Card()
    assert card.link.block(s_block(0xC1, b"\x04")) == s_block(0xE1, b"\x04")
    answer = card.link.block(framed(0x00, COMMAND))
    assert answer is not None
    assert (answer[1], answer[2]) == (0x20, 4)


def test_out_of_step_it_refuses_everything_until_it_is_resynchronised() -> None:
    card = Card()
    card.link.block(framed(0x00, COMMAND))
    card.link.fail("out of step", 1)
    for number in (0x00, 0x40):
        assert card.link.block(framed(number, COMMAND)) == r_block(1, 2)
    assert card.link.block(s_block(0xC0)) == s_block(0xE0)
    assert card.link.block(framed(0x00, COMMAND)) == framed(0x00, COMMAND[::-1] + b"\x90\x00")


def test_the_cards_own_faults_happen_as_often_as_told() -> None:
    card = Card()
    for name in ("garbled", "lost", "aborts", "new size"):
        card.link.fail(name, 1)
    answer = card.link.block(framed(0x00, COMMAND))
    assert answer is None  # lost; it was S(ABORT)
    again = card.link.block(r_block(0, 1))
    assert again is not None
    assert not well_formed(again)
    assert card.link.block(r_block(0, 1)) == s_block(0xC2)
    assert card.link.faults["new size"] == 1


@pytest.mark.parametrize("name", ["unionpay-t1", "unionpay-t1-slow"])
def test_a_card_files_answer_to_reset_says_what_the_file_says(name: str) -> None:
    card = EmvCard(load_card(name))
    atr = parse_atr(card.atr)
    assert (atr.protocol, atr.ifsc, atr.crc) == (card.protocol, 32, False) == (1, 32, False)


def test_faults_of_t1_want_a_card_that_speaks_it() -> None:
    reader = SerialReader()
    with pytest.raises(BenchError, match="T=1"):
        reader.apply_fault("card-garbles")
    reader.insert_card("unionpay-credit")
    with pytest.raises(BenchError, match="T=1"):
        reader.apply_fault("card-asks-time")
    reader.insert_card("unionpay-t1")
    reader.apply_fault("card-out-of-step")
    own = UsbReader(apdu_level=True)
    own.insert_card("unionpay-t1")
    with pytest.raises(BenchError, match="speaks T=1 itself"):
        own.apply_fault("card-out-of-step")


@pytest.mark.parametrize(
    ("command", "data", "wanted"),
    [
        ("00A40400", b"", None),
        ("00B2010C00", b"", 0),
        ("00A4040002A000", b"\xa0\x00", None),
        ("00A4040002A00000", b"\xa0\x00", 0),
        ("00A4", None, None),
        ("00A4040005A000", None, None),
    ],
)
def test_a_short_apdu_is_taken_apart(command: str, data: bytes | None, wanted: int | None) -> None:
    assert parted(bytes.fromhex(command)) == (data, wanted)
