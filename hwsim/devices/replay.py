"""A device that says what a recorded one said.

It waits for what the program under test said in the recording and answers with what followed, after the recorded
pause. Questions may come in another order: the next fitting place of the recording is taken, from where it stands
and then from the beginning. What fits nowhere is counted (`unknown questions`) and forgotten after a pause.
"""

from __future__ import annotations

from hwsim.devices.device import FRAME_PAUSE_S, SimDevice
from hwsim.recording import Piece, masked


class ReplayDevice(SimDevice):
    """`pieces` as `load_recording` gives them; comparison is between masked bytes."""

    def __init__(self, kind: str, pieces: list[Piece], seed: int = 0) -> None:
        super().__init__(seed)
        self.kind = kind
        self._pieces = pieces
        self.power_on()

    def power_on(self) -> None:
        self._heard = b""
        self._heard_at = 0.0
        self._place = 0
        if self._pieces and self._pieces[0].side == "device":
            self.emit(self._pieces[0].data)

    def details(self) -> dict[str, object]:
        return {"place": self._place, "pieces": len(self._pieces)}

    def receive(self, data: bytes) -> None:
        if self._heard and self.now - self._heard_at > FRAME_PAUSE_S:
            self.counters["unknown questions"] += 1
            self._heard = b""
        self._heard += data
        self._heard_at = self.now
        place = self._fitting(masked(self.kind, self._heard))
        if place is None:
            return
        self._heard = b""
        self._place = place + 1
        if self._place < len(self._pieces):
            answer = self._pieces[self._place]
            self.after(max(answer.at_s - self._pieces[place].at_s, 0.0), lambda: self.emit(answer.data))

    def _fitting(self, question: bytes) -> int | None:
        order = [*range(self._place, len(self._pieces)), *range(self._place)]
        fitting = (at for at in order if self._pieces[at].side == "host" and self._pieces[at].data == question)
        return next(fitting, None)
