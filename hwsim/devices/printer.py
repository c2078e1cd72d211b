"""A receipt printer with ESC/POS, a cutter, a cash drawer and sensors.

    > 10 04 04                          real time: paper sensor?
    < 12                                there is paper (7E: out)
    > D6 D0 0A  1D 56 42 00             "中", line feed, feed and cut
    > 1D 28 48 06 00 30 30 31 32 33 34  tell me process 1234 when it is printed
    < 37 22 31 32 33 34 00              it is on the paper

Rules: real-time commands (DLE) are executed as they arrive, even offline and even inside image data; everything
else waits in the receive buffer, in order, while the printer is offline. Sources: Epson ESC/POS reference,
TM-L90 manual pp.425-431 (GS ( H), TM-T88III manual.
"""

from __future__ import annotations

from hwsim.devices import printer_commands
from hwsim.devices.device import SimDevice
from hwsim.devices.escpos_grammar import DLE, ESC, FS, GS, command_length, real_time_length
from hwsim.devices.paper import Align, LineBuffer, Paper, Part, Style
from hwsim.devices.printer_status import Sensors, automatic_status, real_time_status, watched
from hwsim.devices.printer_text import character_length, decode

RECEIVE_BUFFER_BYTES = 65536
CLEAR_RESPONSE = b"\x37\x25\x00"
CLEAR_BUFFERS = bytes([DLE, 0x14, 0x08, 0x01, 0x03, 0x14, 0x01, 0x06, 0x02, 0x08])


class Printer(SimDevice):
    """`line_s` is how long one line takes to print (0: no time at all)."""

    kind = "printer"
    baud = 38400
    line_format = "8N1"

    def __init__(self, seed: int = 0, *, line_s: float = 0.0, reports_printing: bool = True) -> None:
        super().__init__(seed)
        self.sensors = Sensors()
        self.paper = Paper()
        self.line_s = line_s
        self.reports_printing = reports_printing
        self.drawer_kicks = 0
        self.buffer_limit = RECEIVE_BUFFER_BYTES
        self._lines_to_paper_end: int | None = None
        self._jam_next_cut = False
        self._jam_stays = False
        self._cut_owed = False
        self.power_on()

    # What people and tests ask

    def slips(self) -> list[str]:
        """The text of each slip that was cut off."""
        return [slip.as_text() for slip in self.paper.cut_slips]

    def details(self) -> dict[str, object]:
        return {
            "paper": self.sensors.paper,
            "cover_open": self.sensors.cover_open,
            "cutter_error": self.sensors.cutter_error,
            "drawer_open": self.sensors.drawer_open,
            "offline": self.sensors.offline,
            "buffered_bytes": len(self._buffer),
            "slips": len(self.paper.cut_slips),
            "hanging": self.paper.hanging.as_text(),
            "drawer_kicks": self.drawer_kicks,
        }

    # Power and sensors

    def power_on(self) -> None:
        self._buffer = bytearray()
        self._real_time = b""
        self._busy = False
        self.line_buffer = LineBuffer()
        self._asb_mask = 0
        self._told: tuple[object, ...] = ()
        self._offline_told = False
        self.offline_response = 0
        self._process_id: bytes | None = None
        self.initialise()

    def initialise(self) -> None:
        """ESC @: settings as at power on; the receive buffer stays."""
        self.style = Style()
        self.align: Align = "left"
        self.chinese = True  # a Simplified Chinese model starts in Chinese mode (unverified for every model)
        self.code_page = 0
        self.code_store = printer_commands.CodeStore()
        self.line_buffer.clear()

    def fault_paper_out(self, after_lines: int = 0) -> None:
        """No paper any more, now or after so many more printed lines."""
        if after_lines > 0:
            self._lines_to_paper_end = after_lines
        else:
            self.sensors.paper = "out"
            self.sensors_changed()

    def fault_paper_near_end(self) -> None:
        self.sensors.paper = "near end"
        self.sensors_changed()

    def fault_paper_ok(self) -> None:
        """A person puts a new roll in."""
        self._lines_to_paper_end = None
        self.sensors.paper = "ok"
        self.sensors_changed()

    def fault_cover_open(self) -> None:
        self.sensors.cover_open = True
        self.sensors_changed()

    def fault_cover_closed(self) -> None:
        self.sensors.cover_open = False
        self.sensors_changed()

    def fault_cutter(self, stays: bool = False) -> None:
        """The next cut jams; `stays`: recovery (DLE ENQ) does not help until `cutter-ok`."""
        self._jam_next_cut, self._jam_stays = True, stays

    def fault_cutter_ok(self) -> None:
        """A person frees the cutter."""
        self._jam_next_cut = self._jam_stays = False
        self.recover(clear=False)

    def fault_drawer(self, open: bool = True) -> None:
        self.sensors.drawer_open = open
        self.sensors_changed()

    def fault_small_buffer(self, size: int = 256) -> None:
        """A cheap clone: what does not fit into `size` bytes while the printer cannot print is lost."""
        self.buffer_limit = size

    def fault_no_process_id(self, lacking: bool = True) -> None:
        """An old model: GS ( H is swallowed without an answer."""
        self.reports_printing = not lacking

    def sensors_changed(self) -> None:
        """Tells whoever asked to be told, then goes on printing if possible."""
        if self._asb_mask:
            now_told = watched(self.sensors, self._asb_mask)
            if now_told != self._told:
                self._told = now_told
                self.emit(automatic_status(self.sensors))
        if self.sensors.offline and not self._offline_told and self.offline_response:
            self.emit(printer_commands.offline_answer(self.sensors, self.offline_response))
        self._offline_told = self.sensors.offline
        self._work()

    def watch(self, mask: int) -> None:
        """GS a: the status goes out at once and at each change."""
        self._asb_mask = mask
        self._told = watched(self.sensors, mask)
        if mask:
            self.emit(automatic_status(self.sensors))

    def recover(self, clear: bool) -> None:
        """DLE ENQ 1 (go on) and 2 (throw the buffers away and go on)."""
        if clear:
            self.clear_buffers()
        if self.sensors.cutter_error and not self._jam_stays:
            self.sensors.cutter_error = False
            if self._cut_owed:  # assumed: a recovered cutter finishes the cut
                self._cut_owed = False
                self.paper.cut()
            self.sensors_changed()

    def clear_buffers(self) -> None:
        self._buffer = bytearray()
        self.line_buffer.clear()
        self._process_id = None

    # Bytes in

    def receive(self, data: bytes) -> None:
        if DLE not in data and not self._real_time and len(self._buffer) + len(data) <= self.buffer_limit:
            self._buffer += data
            self._work()
            return
        for byte in data:
            if len(self._buffer) < self.buffer_limit:
                self._buffer.append(byte)
            else:
                self.counters["bytes lost"] += 1
            self._scan_real_time(byte)
            self._work()

    def _scan_real_time(self, byte: int) -> None:
        """Looks for DLE commands in the stream as it arrives, whatever they stand in."""
        self._real_time += bytes([byte])
        while self._real_time:
            length = real_time_length(self._real_time) if self._real_time[0] == DLE else 1
            if length is None:
                return
            command = self._real_time[:length]
            if length > 1 and self._execute_real_time(command):
                self._real_time = self._real_time[length:]
            else:
                self._real_time = self._real_time[1:]

    def _execute_real_time(self, command: bytes) -> bool:
        """True when it was a real-time command."""
        if command[1] == 0x04 and 1 <= command[2] <= 4:
            self.emit(real_time_status(self.sensors, command[2]))
        elif command[1] == 0x05 and command[2] in (1, 2):
            self.recover(clear=command[2] == 2)
        elif command == CLEAR_BUFFERS:
            self.clear_buffers()
            self.emit(CLEAR_RESPONSE)
        elif command[1] == 0x14 and command[2] == 1:
            self.kick_drawer()
        else:
            return False
        self.counters["real-time commands"] += 1
        return True

    # From the receive buffer to the paper

    def _work(self) -> None:
        while self._buffer and not self.sensors.offline and not self._busy:
            if not self._step():
                break
        self._tell_process()

    def _step(self) -> bool:
        """Executes the command or character at the front; false when it has not arrived whole."""
        first = self._buffer[0]
        length = command_length(self._buffer) if first < 32 else character_length(self._buffer, self.chinese)
        if length is None:
            return False
        item = bytes(self._buffer[:length])
        del self._buffer[:length]
        if first >= 0x20:
            self._character(decode(item, self.chinese, self.code_page))
        elif first in (ESC, FS, GS):
            printer_commands.execute(self, item)
        else:
            printer_commands.control(self, first)
        return True

    def _character(self, character: str) -> None:
        if not self.line_buffer.fits(character, self.style):
            self.print_line()
        self.line_buffer.add(character, self.style)

    def print_line(self) -> None:
        """What is in the line buffer goes onto the paper."""
        self.put(self.line_buffer.take(self.align))

    def put(self, part: Part) -> None:
        self.paper.add(part)
        self.counters["lines printed"] += 1
        if self.line_s > 0:
            self._busy = True
            self.after(self.line_s, self._line_done)
        if self._lines_to_paper_end is not None:
            self._lines_to_paper_end -= 1
            if self._lines_to_paper_end <= 0:
                self._lines_to_paper_end = None
                self.sensors.paper = "out"
                self.sensors_changed()

    def _line_done(self) -> None:
        self._busy = False
        self._work()

    def cut(self) -> None:
        if self.line_buffer:
            self.print_line()
        if self._jam_next_cut:
            self._jam_next_cut = False
            self._cut_owed = True
            self.sensors.cutter_error = True
            self.sensors_changed()
            return
        self.paper.cut()
        self.counters["cuts"] += 1

    def kick_drawer(self) -> None:
        self.drawer_kicks += 1

    def remember_process(self, process_id: bytes) -> None:
        """GS ( H: answered when everything before it is on the paper; only the latest one is kept."""
        self._process_id = process_id

    def _tell_process(self) -> None:
        if self._process_id is None or self.line_buffer or self._busy or self.sensors.offline:
            return
        process_id, self._process_id = self._process_id, None
        if self.reports_printing:
            self.emit(b"\x37\x22" + process_id + b"\x00")

    def data_set_ready(self) -> bool:
        return super().data_set_ready() and not self.sensors.offline and len(self._buffer) < self.buffer_limit

    def spoil(self, frame: bytes) -> bytes:
        # Status answers have no check byte; the fixed bits of DLE EOT are the nearest thing.
        return frame[:-1] + bytes([frame[-1] ^ 0x80])
