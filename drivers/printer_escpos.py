"""The receipt printer: ESC/POS over serial or USB.

    printer.print_slip(slip, "20260101-000017", 20) -> PrintOutcome("printed" | "not printed" | "unknown", cause)
    printer.last_outcome("20260101-000017")         -> LastOutcome
    printer.status()                                -> PrinterStatus

Rules
1. "printed" is said only on the printer's own word: the answer to GS ( H with this slip's process id, which it
   sends when everything before it is on paper. A model without it gives "unknown", and so does a power cycle.
2. "not printed" is said only when no byte of the slip left.
3. A slip whose bytes left and whose answer is still owed (paper ran out in the middle) is not sent again: calling
   `print_slip` with the same reference waits for the printer's word. A person who wants the paper anyway asks
   for `copy=True`, which says so on the slip.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from drivers.device import LastOutcome, PortDevice
from drivers.errors import DeviceRefused, DeviceTimeout, PortError, PortGone, PortTimeout
from drivers.framed import FrameStream
from drivers.port import BytePort, UsbBytePort, deadline_in, remaining
from protocol import escpos
from protocol.escpos import Automatic, PrinterStatus, RealTime, Slip

STATUS_ANSWER_S = 0.6  # real-time answers come within a line's time; 0.6 s allows for 1200 baud and USB hubs
STATUS_EVERY_S = 0.5  # while waiting for paper
STATUS_TIMEOUT_S = 3.0
REMEMBERED = 256  # outcomes by reference; the journal keeps the rest
TEST_REFERENCE = "printer-test"

# What a hand must do about a cause (PrinterStatus.cause).
HINTS = {
    "paper out": "change the paper and close the cover",
    "cover open": "close the cover",
    "cutter": "clear the cutter, switch the printer off and on",
    "offline": "look at the button and the lamps of the printer",
    "silent": "check power, cable and speed",
}

Outcome = Literal["printed", "not printed", "unknown"]


@dataclass(frozen=True, slots=True)
class PrintOutcome:
    """What became of a slip. `cause`: why not, in the words of PrinterStatus.cause or a sentence."""

    outcome: Outcome
    cause: str = ""


@dataclass(frozen=True, slots=True)
class PrinterModel:
    """What a model can (see catalogue.toml)."""

    process_id: bool = True  # GS ( H
    real_time_status: bool = True  # DLE EOT
    automatic_status: bool = True  # GS a
    columns: int = escpos.COLUMNS


class PrintMemory:
    """What became of every slip. It belongs to the printer, not to the connection: a reopened port keeps it."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, PrintOutcome] = OrderedDict()
        self._heard: OrderedDict[bytes, None] = OrderedDict()

    def get(self, reference: str) -> PrintOutcome | None:
        """The best word so far; a process id that nobody here waited for (a restart) counts too."""
        known = self._outcomes.get(reference)
        if (known is None or known.outcome == "unknown") and escpos.process_id(reference) in self._heard:
            return PrintOutcome("printed")
        return known

    def put(self, reference: str, outcome: PrintOutcome) -> None:
        """Remember the latest REMEMBERED ones."""
        self._outcomes[reference] = outcome
        while len(self._outcomes) > REMEMBERED:
            self._outcomes.popitem(last=False)

    def hear(self, process: bytes) -> None:
        """The printer says that everything before this id is on paper. Only this slip's: after a power cycle
        the ones before may be lost."""
        self._heard[process] = None
        while len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)

    def forget(self, reference: str) -> None:
        """A new slip begins under this reference (a copy, a test)."""
        self._outcomes.pop(reference, None)
        self._heard.pop(escpos.process_id(reference), None)


class EscposPrinter(PortDevice[BytePort]):
    """See the module. `memory` is shared by the Device objects that follow each other on one printer.

    `models`: what the model that a USB printer says it is can do; `model`: what is assumed of the others.
    """

    kind = "printer"

    def __init__(
        self,
        address: str,
        opener: Callable[[], BytePort],
        model: PrinterModel = PrinterModel(),
        memory: PrintMemory | None = None,
        models: Callable[[str], PrinterModel | None] = lambda name: None,
    ) -> None:
        super().__init__(address, opener)
        self._model = model
        self._models = models
        self._memory = memory or PrintMemory()
        self._stream: FrameStream[escpos.PrinterEvent] | None = None
        self._real_time: list[int] = []
        self._last_status = PrinterStatus(answered=False, online=False, paper="unknown")
        self._device_id: Mapping[str, str] = {}

    # ------------------------------------------------------------ Device

    @property
    def firmware(self) -> str:
        """The model by its USB device id; a serial line does not tell."""
        return self._device_id.get("MDL", "")

    @property
    def detail(self) -> str:
        """See Device."""
        status = self._last_status
        return status.cause or (f"paper {status.paper}" if status.paper != "ok" else "")

    @property
    def counters(self) -> Mapping[str, int]:
        """See Device."""
        scanner = self._stream.scanner if self._stream is not None else None
        noise = {"noise_bytes": scanner.noise_bytes, "damaged_answers": scanner.damaged_frames} if scanner else {}
        return dict(super().counters) | noise

    def open(self, deadline_s: float) -> None:
        """See Device. A printer that is offline is open all the same: it will say why."""
        port = self.open_port()
        self._stream = FrameStream(port, escpos.event_scanner())
        if isinstance(port, UsbBytePort):
            self._device_id = escpos.parse_device_id(port.printer_device_id())
            self._model = self._models(self.firmware) or self._model
            if not port.readable:
                self._model = replace(self._model, process_id=False, real_time_status=False, automatic_status=False)
        if self._model.automatic_status and self._ask_status(deadline_s).online:
            self.port.write(escpos.ENABLE_ASB, deadline_s)

    def idle(self) -> None:
        """See Device."""
        self._take(time.monotonic())
        self._real_time.clear()

    def test(self, deadline_s: float) -> str:
        """Print one line and demand the printer's word for it."""
        self._memory.forget(TEST_REFERENCE)
        slip = Slip((escpos.Line("打印机测试 printer test", "center"), escpos.Feed(3), escpos.CutPaper()))
        outcome = self.print_slip(slip, TEST_REFERENCE, remaining(deadline_s))
        if outcome.outcome == "not printed":
            raise DeviceRefused(
                f"the test line was not printed: {outcome.cause}", outcome.cause, HINTS.get(outcome.cause, "")
            )
        if outcome.outcome == "printed":
            return "test line printed"
        if self._model.process_id:
            raise DeviceTimeout(
                f"the test line was sent and not confirmed: {outcome.cause}", HINTS.get(outcome.cause, "")
            )
        return "test line sent; this model cannot say that it is on paper: look at the printer"

    # ------------------------------------------------------------ status

    def status(self, timeout_s: float = STATUS_TIMEOUT_S) -> PrinterStatus:
        """Ask the printer now; `answered` False = it said nothing. Raises PortError."""
        return self._ask_status(deadline_in(timeout_s))

    def _ask_status(self, deadline_s: float) -> PrinterStatus:
        if self._model.real_time_status:
            self._last_status = escpos.parse_status(self._real_time_answers(deadline_s))
        if not self._last_status.answered or not self._model.real_time_status:
            self._last_status = self._usb_status() or self._last_status
        return self._last_status

    def _real_time_answers(self, deadline_s: float) -> dict[int, int]:
        answers: dict[int, int] = {}
        for n in (escpos.STATUS_PRINTER, escpos.STATUS_OFFLINE, escpos.STATUS_ERROR, escpos.STATUS_PAPER):
            self._take(time.monotonic())
            self._real_time.clear()
            self.port.write(escpos.ask_status(n), deadline_s)
            patience = min(deadline_s, deadline_in(STATUS_ANSWER_S))
            while not self._real_time and remaining(patience):
                self._take(patience)
            if not self._real_time:
                self.counted["status_timeouts"] += 1
                break  # a printer that is silent once is asked again later, not three times more now
            answers[n] = self._real_time.pop(0)
        return answers

    def _usb_status(self) -> PrinterStatus | None:
        """The USB port status, for printers that do not answer DLE EOT."""
        port = self.port
        byte = port.printer_port_status() if isinstance(port, UsbBytePort) else None
        return None if byte is None else escpos.parse_port_status(byte)

    # ------------------------------------------------------------ printing

    def print_slip(self, slip: Slip, reference: str, timeout_s: float, copy: bool = False) -> PrintOutcome:
        """Print a slip once. Raises FrameError (the slip cannot be rendered); device trouble is in the outcome."""
        deadline_s = deadline_in(timeout_s)
        earlier = self._memory.get(reference)
        if earlier is not None and not copy and earlier.outcome != "not printed":
            return earlier if earlier.outcome == "printed" else self._resumed(reference, deadline_s)
        if copy:
            self._memory.forget(reference)
        data = escpos.render(slip.as_copy() if copy else slip, self._model.columns)
        try:
            outcome = self._printed(data, reference, deadline_s)
        except PortError as error:
            # Only our last word about it is kept; the caller sees the lost port as an error.
            self._remember(reference, PrintOutcome("unknown", error.code), only_if_new=True)
            raise
        return self._remember(reference, outcome)

    def _printed(self, data: bytes, reference: str, deadline_s: float) -> PrintOutcome:
        status = self._ask_status(deadline_s)
        if self._model.real_time_status and not status.answered:
            status = self._ask_status(deadline_s)  # one lost answer must not cost a sale its slip
        if status.cause and (status.answered or self._model.real_time_status):
            return PrintOutcome("not printed", status.cause)
        # From here on bytes may be on paper: the word "unknown" stands until the printer speaks.
        self._remember(reference, PrintOutcome("unknown", "sending"))
        if self._model.process_id:
            data += escpos.ask_process_id(escpos.process_id(reference))
        try:
            self.port.write(data, deadline_s)
        except PortTimeout:
            self.counted["stuck_slips"] += 1
            return PrintOutcome("unknown", self._cause("the printer stopped taking data", deadline_s))
        if not self._model.process_id:
            return PrintOutcome("unknown", self._cause("this model cannot say when a slip is on paper", deadline_s))
        return self._proof(reference, deadline_s)

    def _cause(self, otherwise: str, deadline_s: float) -> str:
        status = self._ask_status(max(deadline_s, deadline_in(STATUS_ANSWER_S)))
        return status.cause or otherwise

    def _proof(self, reference: str, deadline_s: float) -> PrintOutcome:
        """Wait for the printer's word, looking meanwhile why it does not come."""
        cause = "the printer has not said that the slip is on paper"
        while True:
            self._take(min(deadline_s, deadline_in(STATUS_EVERY_S)))
            if self._is_printed(reference):
                return PrintOutcome("printed")
            if not remaining(deadline_s):
                return PrintOutcome("unknown", cause)
            cause = self._ask_status(deadline_s).cause or cause

    def _resumed(self, reference: str, deadline_s: float) -> PrintOutcome:
        """The slip's bytes left earlier: no second slip, only the printer's word."""
        self.counted["resumed_slips"] += 1
        if not self._model.process_id:
            return PrintOutcome("unknown", self._cause("it was sent; this model cannot say more", deadline_s))
        return self._remember(reference, self._proof(reference, deadline_s))

    def _is_printed(self, reference: str) -> bool:
        outcome = self._memory.get(reference)
        return outcome is not None and outcome.outcome == "printed"

    def clear(self, timeout_s: float = STATUS_TIMEOUT_S) -> None:
        """Throw away what the printer holds and recover from its error. Owed slips stay "unknown" for ever."""
        deadline_s = deadline_in(timeout_s)
        self.port.write(escpos.RECOVER + escpos.CLEAR_BUFFERS, deadline_s)
        if not self._ask_status(deadline_s).answered:
            raise DeviceTimeout("the printer does not answer after clearing its buffer")

    def last_outcome(self, reference: str) -> LastOutcome:
        """What the printer said of this slip, also while nobody was asking, or before it was opened again."""
        self._take(time.monotonic())
        known = self._memory.get(reference)
        if known is None:
            return LastOutcome("unknown", "the printer has said nothing of this slip")
        words: dict[Outcome, Literal["done", "not done", "unknown"]] = {"printed": "done", "not printed": "not done"}
        return LastOutcome(words.get(known.outcome, "unknown"), known.cause)

    # ------------------------------------------------------------ what the printer says

    def _remember(self, reference: str, outcome: PrintOutcome, only_if_new: bool = False) -> PrintOutcome:
        """Keep the outcome, never exchanging "printed" for less."""
        known = self._memory.get(reference)
        if known is not None and (only_if_new or known.outcome == "printed"):
            return known
        self._memory.put(reference, outcome)
        return outcome

    def _take(self, deadline_s: float) -> None:
        """One read, and everything in it."""
        if self._stream is None:
            raise PortGone(f"{self.address} is not open")
        port = self.port
        if isinstance(port, UsbBytePort) and not port.readable:
            port.printer_port_status()  # notices an unplugged printer
            return
        self._stream.take(self._heard, deadline_s)

    def _heard(self, event: escpos.PrinterEvent) -> None:
        if isinstance(event, RealTime):
            self._real_time.append(event.byte)
        elif isinstance(event, Automatic):
            self._last_status = event.status
        else:
            self._memory.hear(event.process)
