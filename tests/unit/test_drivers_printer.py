"""The printer: "printed" only on its own word, "not printed" only when nothing left, otherwise "unknown"."""

from __future__ import annotations

import pytest

from drivers.errors import DeviceRefused, DeviceTimeout, PortGone
from drivers.port import BytePort, deadline_in
from drivers.printer_escpos import EscposPrinter, PrinterModel, PrintMemory
from protocol import escpos
from protocol.escpos import Line, Slip
from tests.unit.scripted_port import AnsweringPort

h = bytes.fromhex
MODEL = PrinterModel()
SLIP = Slip((Line("UnionPay 冲正"),))


class Paper:
    """A printer written by hand: real-time status at once, the rest only while it has paper."""

    def __init__(self, proof: bool = True) -> None:
        self.out = False
        self.silent = False
        self.proof = proof
        self.runs_out_at: int | None = None
        self.printed = bytearray()
        self.held = bytearray()
        self.answers = {1: 0x12, 2: 0x12, 3: 0x12, 4: 0x12}
        self.port = AnsweringPort(self.respond)

    def respond(self, data: bytes) -> bytes:
        if self.silent:
            return b""
        if len(data) == 3 and data[:2] == h("10 04"):
            return bytes([self.status()[data[2]]])
        self.held += data
        if self.runs_out_at is not None and len(self.held) >= self.runs_out_at:
            self.out = True
        return self.work()

    def status(self) -> dict[int, int]:
        return {1: 0x1A, 2: 0x32, 3: 0x12, 4: 0x7E} if self.out else self.answers

    def work(self) -> bytes:
        """Print what is held, answer what is asked."""
        if self.out:
            return b""
        data, self.held = bytes(self.held), bytearray()
        self.printed += data
        answer = b"" if escpos.ENABLE_ASB not in data else h("10 00 00 00")
        position = data.find(h("1D 28 48 06 00 30 30"))
        if position >= 0 and self.proof:
            answer += h("37 22") + data[position + 7 : position + 11] + b"\0"
        return answer

    def new_paper(self) -> None:
        self.out, self.runs_out_at = False, None
        self.port.say(self.work())


def printer_on(paper: Paper, memory: PrintMemory | None = None, model: PrinterModel = MODEL) -> EscposPrinter:
    printer = EscposPrinter("scripted:", lambda: paper.port, model, memory)
    printer.open(deadline_in(2))
    return printer


def slips(paper: Paper) -> int:
    return bytes(paper.printed).count("冲正".encode("gb18030"))


def test_a_slip_is_printed_on_the_printers_word() -> None:
    paper = Paper()
    printer = printer_on(paper)
    outcome = printer.print_slip(SLIP, "R1", 2)
    assert (outcome.outcome, outcome.cause) == ("printed", "")
    assert printer.last_outcome("R1").known == "done"
    assert slips(paper) == 1


def test_the_same_reference_is_never_printed_twice() -> None:
    paper = Paper()
    printer = printer_on(paper)
    printer.print_slip(SLIP, "R1", 2)
    assert printer.print_slip(SLIP, "R1", 2).outcome == "printed"
    assert slips(paper) == 1


def test_a_copy_is_printed_again_and_says_so() -> None:
    paper = Paper()
    printer = printer_on(paper)
    printer.print_slip(SLIP, "R1", 2)
    assert printer.print_slip(SLIP, "R1", 2, copy=True).outcome == "printed"
    assert slips(paper) == 2
    assert "重印 DUPLICATE".encode("gb18030") in bytes(paper.printed)


def test_a_copy_needs_its_own_proof() -> None:
    paper = Paper()
    printer = printer_on(paper)
    printer.print_slip(SLIP, "R1", 2)
    paper.proof = False
    assert printer.print_slip(SLIP, "R1", 0.3, copy=True).outcome == "unknown"


def test_without_paper_nothing_leaves_and_the_slip_is_certainly_not_printed() -> None:
    paper = Paper()
    paper.out = True
    printer = printer_on(paper)
    outcome = printer.print_slip(SLIP, "R1", 2)
    assert (outcome.outcome, outcome.cause) == ("not printed", "paper out")
    assert not paper.held
    paper.new_paper()
    assert printer.print_slip(SLIP, "R1", 2).outcome == "printed"
    assert slips(paper) == 1


def test_paper_that_runs_out_in_the_middle_is_unknown_and_then_resumed_without_a_second_slip() -> None:
    paper = Paper()
    printer = printer_on(paper)
    paper.runs_out_at = 20
    outcome = printer.print_slip(SLIP, "R1", 0.7)
    assert (outcome.outcome, outcome.cause) == ("unknown", "paper out")
    paper.new_paper()
    assert printer.print_slip(SLIP, "R1", 2).outcome == "printed"
    assert slips(paper) == 1


def test_the_proof_of_an_owed_slip_counts_also_when_nobody_waits_for_it() -> None:
    paper = Paper()
    printer = printer_on(paper)
    paper.runs_out_at = 20
    printer.print_slip(SLIP, "R1", 0.3)
    paper.new_paper()
    printer.idle()
    assert printer.last_outcome("R1").known == "done"


def test_what_became_of_a_slip_survives_a_reopened_port() -> None:
    paper, memory = Paper(), PrintMemory()
    printer_on(paper, memory).print_slip(SLIP, "R1", 2)
    again = printer_on(paper, memory)
    assert again.print_slip(SLIP, "R1", 2).outcome == "printed"
    assert slips(paper) == 1


def test_a_proof_heard_after_a_restart_of_the_program_counts() -> None:
    paper = Paper()
    printer = printer_on(paper)
    paper.port.say(h("37 22") + escpos.process_id("R7") + b"\0")
    assert printer.last_outcome("R7").known == "done"
    assert printer.last_outcome("R8").known == "unknown"


def test_another_slips_proof_proves_nothing_for_this_one() -> None:
    paper = Paper(proof=False)
    printer = printer_on(paper)
    paper.port.say(h("37 22 41 42 43 44 00"))
    assert printer.print_slip(SLIP, "R1", 0.3).outcome == "unknown"


def test_a_model_without_process_ids_is_honestly_unknown() -> None:
    printer = printer_on(Paper(), model=PrinterModel(process_id=False))
    outcome = printer.print_slip(SLIP, "R1", 1)
    assert outcome.outcome == "unknown"
    assert "cannot say" in outcome.cause


def test_a_silent_printer_gets_nothing() -> None:
    paper = Paper()
    paper.silent = True
    printer = printer_on(paper)
    outcome = printer.print_slip(SLIP, "R1", 1)
    assert (outcome.outcome, outcome.cause) == ("not printed", "silent")


def test_a_printer_that_never_answers_status_by_nature_is_printed_to() -> None:
    paper = Paper()
    model = PrinterModel(process_id=False, real_time_status=False, automatic_status=False)
    assert printer_on(paper, model=model).print_slip(SLIP, "R1", 1).outcome == "unknown"
    assert slips(paper) == 1


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ({1: 0x1A, 2: 0x16, 3: 0x12, 4: 0x12}, "cover open"),
        ({1: 0x1A, 2: 0x52, 3: 0x1A, 4: 0x12}, "cutter"),
        ({1: 0x1A, 2: 0x12, 3: 0x12, 4: 0x12}, "offline"),
    ],
)
def test_every_cause_is_told(answers: dict[int, int], cause: str) -> None:
    paper = Paper()
    paper.answers = answers
    printer = printer_on(paper)
    assert printer.print_slip(SLIP, "R1", 1).cause == cause
    assert printer.detail == cause


def test_automatic_status_is_seen_between_jobs() -> None:
    paper = Paper()
    printer = printer_on(paper)
    paper.port.say(h("38 00 0F 00"))
    printer.idle()
    assert printer.detail == "cover open"


def test_a_lost_port_in_the_middle_is_an_error_and_the_slip_unknown() -> None:
    paper, memory = Paper(), PrintMemory()
    printer = printer_on(paper, memory)
    whole = paper.port.write

    def write(data: bytes, deadline_s: float) -> None:
        if len(data) > 20:
            raise PortGone("scripted: pulled")
        whole(data, deadline_s)

    paper.port.write = write  # type: ignore[method-assign]
    with pytest.raises(PortGone):
        printer.print_slip(SLIP, "R1", 1)
    known = memory.get("R1")
    assert known is not None
    assert known.outcome == "unknown"


def test_the_device_test_prints_a_line_and_says_so() -> None:
    paper = Paper()
    printer = printer_on(paper)
    for times in (1, 2):
        assert printer.test(deadline_in(2)) == "test line printed"
        assert bytes(paper.printed).count("打印机测试".encode("gb18030")) == times
    paper.out = True
    with pytest.raises(DeviceRefused):
        printer_on(paper).test(deadline_in(2))


def test_clearing_is_acknowledged_by_status() -> None:
    paper = Paper()
    printer = printer_on(paper)
    printer.clear(1)
    assert escpos.CLEAR_BUFFERS in bytes(paper.printed)
    paper.silent = True
    with pytest.raises(DeviceTimeout):
        printer.clear(1)


def test_half_a_status_between_two_looks_is_not_thrown_away() -> None:
    paper = Paper()
    printer = printer_on(paper)
    for byte in h("38 00 0F 00"):
        paper.port.say(bytes([byte]))
        printer.idle()
        printer.idle()
    assert printer.detail == "cover open"
    port: BytePort = paper.port
    assert port.counters.failures == 0
