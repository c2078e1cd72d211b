"""The simulated receipt printer: text, status, proof of printing, faults. Times are given, nothing sleeps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.devices.printer import Printer

CUT = b"\x1dV\x42\x00"
CLEAR = bytes.fromhex("1014080103140106 0208".replace(" ", ""))


def process(name: bytes) -> bytes:
    return b"\x1d\x28\x48\x06\x00\x30\x30" + name


def status(printer: Printer, n: int, now: float = 0.0) -> int:
    answer = printer.feed(bytes([0x10, 0x04, n]), now)
    assert len(answer) == 1
    return answer[0]


def test_a_ready_printer_says_12_to_every_question() -> None:
    assert [status(Printer(), n) for n in (1, 2, 3, 4)] == [0x12] * 4


def test_chinese_text_comes_out_as_chinese() -> None:
    printer = Printer()
    printer.feed(b"\x1b@\x1c&" + "冲正成功 ¥12.34".encode("gb18030") + b"\n" + CUT, 0.0)
    assert printer.slips() == ["冲正成功 ¥12.34"]


def test_text_byte_by_byte_is_the_same() -> None:
    printer = Printer()
    for byte in "商户存根 OK".encode("gb18030") + b"\n" + CUT:
        printer.feed(bytes([byte]), 0.0)
    assert printer.slips() == ["商户存根 OK"]


def test_outside_chinese_mode_high_bytes_are_of_the_code_page() -> None:
    printer = Printer()
    printer.feed(b"\x1c.\x1bt\x10\xe9\n" + CUT, 0.0)
    assert printer.slips() == ["é"]


def test_alignment_is_seen_in_the_text() -> None:
    printer = Printer()
    printer.feed(b"\x1ba\x01TITLE\n\x1ba\x02END\n" + CUT, 0.0)
    # Outer empty columns stay, line ends do not.
    assert printer.slips() == [" " * 21 + "TITLE\n" + " " * 45 + "END"]


def test_a_full_line_goes_on_in_the_next_one() -> None:
    printer = Printer()
    printer.feed("汉".encode("gb18030") * 25 + b"\n" + CUT, 0.0)
    assert printer.slips() == ["汉" * 24 + "\n汉"]


def test_double_width_halves_the_line() -> None:
    printer = Printer()
    printer.feed(b"\x1d!\x11" + b"W" * 25 + b"\n" + CUT, 0.0)
    assert printer.slips() == ["W" * 24 + "\nW"]


def test_codes_and_images_leave_a_mark() -> None:
    printer = Printer()
    qr = b"\x1d(k\x03\x00\x31\x43\x04" + b"\x1d(k\x08\x00\x31\x50\x30https" + b"\x1d(k\x03\x00\x31\x51\x30"
    printer.feed(qr + b"\x1dv0\x00\x02\x00\x03\x00" + bytes(6) + b"\x1dkI\x03123" + CUT, 0.0)
    assert printer.slips() == ["[QR: https]\n[image 16x3]\n[bar code: 123]"]


def test_a_stored_graphic_is_printed_when_told() -> None:
    printer = Printer()
    store = b"\x30\x70\x30\x01\x01\x31\x08\x00\x02\x00\xff\x00"
    printer.feed(b"\x1d(L" + len(store).to_bytes(2, "little") + store + b"\x1d(L\x02\x00\x30\x32" + CUT, 0.0)
    assert printer.slips() == ["[image 8x2]"]


def test_an_empty_cut_makes_no_slip() -> None:
    printer = Printer()
    printer.feed(CUT + CUT, 0.0)
    assert printer.slips() == []


def test_the_drawer_opens_by_command_and_by_real_time_command() -> None:
    printer = Printer()
    printer.feed(b"\x1bp\x00\x32\x32" + b"\x10\x14\x01\x00\x01", 0.0)
    assert printer.drawer_kicks == 2


def test_paper_out_is_seen_in_every_status() -> None:
    printer = Printer()
    printer.apply_fault("paper-out")
    assert [status(printer, n) for n in (1, 2, 4)] == [0x1A, 0x32, 0x7E]
    printer.apply_fault("cover-open")
    assert status(printer, 2) == 0x36


def test_paper_near_end_is_a_warning_and_printing_goes_on() -> None:
    printer = Printer()
    printer.apply_fault("paper-near-end")
    assert [status(printer, 1), status(printer, 4)] == [0x12, 0x1E]
    assert printer.feed(b"\x1dr\x01A\n" + CUT, 0.0) == b"\x03"
    assert printer.slips() == ["A"]


def test_automatic_status_is_sent_at_once_and_on_each_change() -> None:
    printer = Printer()
    assert printer.feed(b"\x1da\xff", 0.0) == bytes.fromhex("10000000")
    printer.apply_fault("paper-out")
    assert printer.tick(0.0) == bytes.fromhex("18000F00")
    printer.apply_fault("cover-open")
    assert printer.tick(0.0) == bytes.fromhex("38000F00")
    assert printer.tick(1.0) == b""


def test_automatic_status_keeps_to_what_was_asked_for() -> None:
    printer = Printer()
    printer.feed(b"\x1da\x01", 0.0)
    printer.apply_fault("cover-open")
    assert printer.tick(0.0) == b""
    printer.apply_fault("drawer")
    assert printer.tick(0.0)[0] & 0x04


def test_while_offline_everything_but_real_time_commands_waits() -> None:
    printer = Printer()
    printer.apply_fault("cover-open")
    assert printer.feed(b"held\n" + CUT + b"\x1dr\x01", 0.0) == b""
    assert printer.slips() == []
    assert status(printer, 2) == 0x16
    printer.apply_fault("cover-closed")
    assert printer.tick(0.0) == b"\x00"
    assert printer.slips() == ["held"]


def test_a_slip_interrupted_by_paper_end_is_finished_on_the_new_roll_once() -> None:
    printer = Printer()
    printer.apply_fault("paper-out", after_lines=2)
    assert printer.feed(b"one\ntwo\nthree\n" + CUT + process(b"0001"), 0.0) == b""
    assert printer.slips() == []
    printer.apply_fault("paper-ok")
    assert printer.tick(0.0) == b"\x37\x220001\x00"
    assert printer.slips() == ["one\ntwo\nthree"]


def test_the_process_id_comes_when_the_lines_are_printed_not_before() -> None:
    printer = Printer(line_s=0.5)
    assert printer.feed(b"one\ntwo\n" + process(b"ABCD"), 0.0) == b""
    assert printer.tick(0.9) == b""
    assert printer.tick(1.0) == b"\x37\x22ABCD\x00"


def test_an_unprinted_line_holds_the_process_id_back_and_only_the_latest_is_told() -> None:
    printer = Printer()
    assert printer.feed(b"no line feed" + process(b"AAAA") + process(b"BBBB"), 0.0) == b""
    assert printer.feed(b"\n", 0.1) == b"\x37\x22BBBB\x00"


def test_clearing_the_buffers_forgets_text_and_process_id() -> None:
    printer = Printer()
    printer.apply_fault("paper-out")
    printer.feed(b"lost\n" + process(b"AAAA"), 0.0)
    assert printer.feed(CLEAR, 0.1) == b"\x37\x25\x00"
    printer.apply_fault("paper-ok")
    assert printer.tick(0.2) == b""
    assert printer.feed(b"kept\n" + CUT, 0.3) == b""
    assert printer.slips() == ["kept"]


def test_an_old_model_does_not_tell_that_it_printed() -> None:
    printer = Printer(reports_printing=False)
    assert printer.feed(b"A\n" + process(b"AAAA"), 0.0) == b""


def test_a_jammed_cutter_stops_the_printer_until_it_is_told_to_go_on() -> None:
    printer = Printer()
    printer.apply_fault("cutter")
    printer.feed(b"first\n" + CUT + b"second\n" + CUT, 0.0)
    assert [status(printer, n) for n in (1, 2, 3)] == [0x1A, 0x52, 0x1A]
    assert printer.slips() == []
    printer.feed(b"\x10\x05\x01", 0.1)
    assert printer.slips() == ["first", "second"]


def test_a_jam_that_stays_needs_a_person() -> None:
    printer = Printer()
    printer.apply_fault("cutter", stays=True)
    printer.feed(b"first\n" + CUT, 0.0)
    printer.feed(b"\x10\x05\x01", 0.1)
    assert printer.state()["cutter_error"] is True
    printer.apply_fault("cutter-ok")
    assert printer.slips() == ["first"]


def test_a_small_buffer_loses_what_does_not_fit() -> None:
    printer = Printer()
    printer.apply_fault("small-buffer", size=10)
    printer.apply_fault("cover-open")
    printer.feed(b"0123456789ABCDEF", 0.0)
    printer.apply_fault("cover-closed")
    printer.feed(b"\n" + CUT, 0.1)
    assert printer.slips() == ["0123456789"]
    assert printer.counters["bytes lost"] == 6


def test_power_loss_forgets_the_buffer_and_keeps_the_paper() -> None:
    printer = Printer()
    printer.feed(b"done\n" + CUT + b"half", 0.0)
    printer.apply_fault("brown-out", seconds=0.1)
    printer.tick(1.0)
    printer.feed(b"next\n" + CUT, 1.0)
    assert printer.slips() == ["done", "next"]


def test_a_status_request_inside_image_data_is_answered_and_the_image_is_whole() -> None:
    printer = Printer()
    rows = b"\x10\x04\x01\x00"
    assert printer.feed(b"\x1dv0\x00\x04\x00\x01\x00" + rows + b"X\n" + CUT, 0.0) == b"\x12"
    assert printer.slips() == ["[image 32x1]\nX"]


def test_the_offline_response_is_sent_when_asked_for() -> None:
    printer = Printer()
    printer.feed(b"\x1d(H\x03\x00\x31\x30\x01", 0.0)
    printer.apply_fault("paper-out")
    assert printer.tick(0.0) == b"\x37\x23\x00"


def test_the_printer_tells_who_it_is() -> None:
    printer = Printer()
    assert printer.feed(b"\x1dI\x42", 0.0) == b"_EPSON\x00"
    assert printer.feed(b"\x1dI\x01", 0.0) == b"\x20"


@settings(max_examples=300)
@given(st.binary(max_size=600))
def test_after_any_bytes_a_clear_brings_the_printer_back(noise: bytes) -> None:
    printer = Printer()
    printer.feed(noise, 0.0)
    assert printer.feed(b"\x10\x10" + CLEAR, 1.0).endswith(b"\x37\x25\x00")
    before = len(printer.slips())
    printer.feed(b"\x1b@" + b"ok\n" + CUT, 2.0)
    assert printer.slips()[before].endswith("ok")


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_whole_and_byte_by_byte_print_the_same(stream: bytes) -> None:
    whole, single = Printer(), Printer()
    said = whole.feed(stream, 0.0)
    assert b"".join(single.feed(bytes([byte]), 0.0) for byte in stream) == said
    assert (single.slips(), single.details()) == (whole.slips(), whole.details())


@pytest.mark.parametrize("n", [0, 5, 9, 255])
def test_an_unknown_real_time_question_is_not_answered(n: int) -> None:
    assert Printer().feed(bytes([0x10, 0x04, n]), 0.0) == b""
