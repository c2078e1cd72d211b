"""ESC/POS bytes against Epson's reference, and status bytes as measured on a paper-out printer."""

from __future__ import annotations

import pytest

from protocol import escpos
from protocol.errors import FrameError
from protocol.escpos import CutPaper, Feed, Line, Logo, OpenDrawer, Pair, Qr, Rule, Slip

h = bytes.fromhex
START = h("1B 40 1C 26")


def body(*items: escpos.Item, width: int = 48) -> bytes:
    """The rendered items without the start."""
    data = escpos.render(Slip(items), width)
    assert data.startswith(START)
    return data[len(START) :]


def test_a_line_is_aligned_emphasised_and_sized() -> None:
    assert body(Line("AB", "center", bold=True, width=2, height=2)) == h("1B 61 01 1B 45 01 1D 21 11") + b"AB\n"


def test_chinese_is_gb18030_in_two_byte_mode_and_the_yen_sign_takes_four() -> None:
    assert body(Line("冲正 ¥")) == h("1B 61 00 1B 45 00 1D 21 00") + h("B3 E5 D5 FD 20 81 30 84 36 0A")


def test_a_pair_fills_the_line_counting_chinese_twice() -> None:
    text = body(Pair("金额", "1.00"), width=16).decode("gb18030")
    assert text.endswith("金额        1.00\n")
    assert escpos.columns("金额        1.00") == 16


def test_a_pair_that_does_not_fit_takes_two_lines() -> None:
    assert body(Pair("A" * 10, "B" * 10), width=16).count(b"\n") == 2


def test_long_lines_are_wrapped_and_no_wide_character_is_cut_in_half() -> None:
    assert body(Line("一二三四五"), width=5).endswith("一二\n三四\n五\n".encode("gb18030"))


def test_control_characters_cannot_smuggle_commands_into_a_slip() -> None:
    data = body(Line("evil\x1b\x70\x00\x10\x04\x01\nnext\u2028"))
    assert h("1B 70") not in data
    assert h("10 04") not in data
    assert data.count(b"\n") == 1


def test_what_gb18030_cannot_say_is_replaced() -> None:
    assert b"?" in body(Line("\ud800")) or b" " in body(Line("\ud800"))


def test_a_rule_a_feed_a_cut_and_the_drawer() -> None:
    assert body(Rule("="), width=4).endswith(b"====\n")
    assert body(Feed(3)) == h("1B 64 03")
    assert body(CutPaper()) == h("1D 56 42 00")
    assert body(CutPaper(partial=False)) == h("1D 56 41 00")
    assert body(OpenDrawer(1)) == h("1B 70 01 32 FA")


def test_a_qr_code_is_model_size_level_data_print() -> None:
    expected = "1B 61 01 1D 28 6B 04 00 31 41 32 00 1D 28 6B 03 00 31 43 06 1D 28 6B 03 00 31 45 31"
    expected += "1D 28 6B 05 00 31 50 30 41 42 1D 28 6B 03 00 31 51 30"
    assert body(Qr("AB")) == h(expected)


def test_a_logo_is_a_raster_image() -> None:
    assert body(Logo(9, h("FF80 8180"))) == h("1B 61 01 1D 76 30 00 02 00 02 00 FF 80 81 80")


@pytest.mark.parametrize("pair", ["1004", "1005", "1014"])
def test_a_picture_never_spells_a_real_time_command(pair: str) -> None:
    data = body(Logo(16, h(pair)))
    assert h(pair) not in data[3:]
    assert data[-2] == 0x10


@pytest.mark.parametrize(
    "item",
    [
        Line("x", width=9),
        Feed(0),
        Qr(""),
        Qr("x" * 2000),
        Qr("x", module=17),
        Qr("a\x10\x04b"),
        Logo(0, b"\0"),
        Logo(16, b"\0"),
        Logo(8, bytes(2000)),
        Logo(5000, bytes(625)),
    ],
)
def test_what_no_printer_can_do_is_a_frame_error(item: escpos.Item) -> None:
    with pytest.raises(FrameError):
        escpos.render(Slip((item,)))


def test_a_copy_says_so_first() -> None:
    assert escpos.Slip((Line("x"),)).as_copy().items[0] == Line("重印 DUPLICATE", "center", bold=True, height=2)


def test_a_slip_has_a_limit() -> None:
    with pytest.raises(FrameError):
        escpos.render(Slip((Line("x" * 1000),) * 300))


def test_a_process_id_is_printable_and_the_same_after_a_restart() -> None:
    assert escpos.process_id("20260101-000017") == escpos.process_id("20260101-000017")
    assert len({escpos.process_id(str(n)) for n in range(2000)}) == 2000
    assert all(0x20 <= byte <= 0x7E for n in range(500) for byte in escpos.process_id(str(n)))
    assert escpos.ask_process_id(b"ABCD") == h("1D 28 48 06 00 30 30 41 42 43 44")
    with pytest.raises(FrameError):
        escpos.ask_process_id(b"AB\x1fD")


# ---------------------------------------------------------------- status


def test_normal_status() -> None:
    status = escpos.parse_status({1: 0x12, 2: 0x12, 3: 0x12, 4: 0x12})
    assert (status.answered, status.online, status.paper, status.cause) == (True, True, "ok", "")


@pytest.mark.parametrize(
    ("answers", "cause", "paper"),
    [
        ({1: 0x1A, 2: 0x32, 3: 0x12, 4: 0x7E}, "paper out", "out"),
        ({1: 0x1A, 2: 0x36, 3: 0x12, 4: 0x7E}, "cover open", "out"),
        ({1: 0x12, 2: 0x12, 3: 0x12, 4: 0x1E}, "", "near end"),
        ({1: 0x12, 2: 0x12, 3: 0x12, 4: 0x72}, "paper out", "out"),
        ({1: 0x1A, 2: 0x52, 3: 0x1A, 4: 0x12}, "cutter", "ok"),
        ({1: 0x1A, 2: 0x52, 3: 0x32, 4: 0x12}, "unrecoverable", "ok"),
        ({1: 0x1A, 2: 0x52, 3: 0x52, 4: 0x12}, "recoverable", "ok"),
        ({1: 0x1A, 2: 0x12, 3: 0x12, 4: 0x12}, "offline", "ok"),
        ({1: 0x12}, "", "unknown"),
        ({}, "silent", "unknown"),
    ],
)
def test_every_cause_has_its_word(answers: dict[int, int], cause: str, paper: str) -> None:
    status = escpos.parse_status(answers)
    assert (status.cause, status.paper) == (cause, paper)


def test_automatic_status_is_four_bytes() -> None:
    assert escpos.parse_asb(h("18 00 0F 00")).cause == "paper out"
    both = escpos.parse_asb(h("38 00 0F 00"))
    assert (both.cover_open, both.paper, both.online) == (True, "out", False)
    assert escpos.parse_asb(h("14 00 03 00")).paper == "near end"
    assert escpos.parse_asb(h("18 08 00 00")).cutter_error
    with pytest.raises(FrameError):
        escpos.parse_asb(h("18 00 0F"))


def test_the_stream_tells_status_proof_and_asb_apart() -> None:
    events = escpos.event_scanner().feed(h("12 18 00 0F 00 37 22 41 42 43 44 00 7E"))
    assert [type(event).__name__ for event in events] == ["RealTime", "Automatic", "Printed", "RealTime"]


def test_usb_port_status() -> None:
    assert escpos.parse_port_status(0x18).cause == ""
    assert escpos.parse_port_status(0x38).cause == "paper out"
    assert escpos.parse_port_status(0x10).cause == "recoverable"
    assert escpos.parse_port_status(0x08).cause == "offline"


def test_a_device_id_is_read_leniently() -> None:
    text = b"MFG:EPSON;CMD:ESC/POS;MDL:TM-T20;CLS:PRINTER;"
    for length in (len(text), len(text) + 2):
        parsed = escpos.parse_device_id(length.to_bytes(2, "big") + text + b"\0")
        assert (parsed["MDL"], parsed["CLS"]) == ("TM-T20", "PRINTER")
    assert escpos.parse_device_id(b"") == {}
