"""A byte port that follows a dialogue written by hand: what must be written, and what then comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from drivers.errors import PortGone
from drivers.port import PortCounters, remaining


@dataclass(frozen=True)
class Turn:
    """The driver must write exactly `wrote`; then the device answers with `answer`."""

    wrote: bytes
    answer: bytes = b""


def turn(wrote: str, answer: str = "") -> Turn:
    """The same in hexadecimal."""
    return Turn(bytes.fromhex(wrote), bytes.fromhex(answer))


class ScriptedPort:
    """A BytePort. A byte that the dialogue does not expect fails the test and shows both sides."""

    def __init__(self, *dialogue: Turn, greeting: bytes = b"", piece: int = 4096, gone_after: bool = False) -> None:
        self.address = "scripted:"
        self.counters = PortCounters()
        self.closed = False
        self._dialogue = list(dialogue)
        self._written = bytearray()
        self._answers = bytearray(greeting)
        self._piece = piece
        self._gone_after = gone_after

    @property
    def finished(self) -> bool:
        """Every turn was taken, and every answer read."""
        return not self._dialogue and not self._answers and not self._written

    def say(self, data: bytes) -> None:
        """The device sends something by itself."""
        self._answers += data

    def read(self, size: int, deadline_s: float) -> bytes:
        """See BytePort."""
        if self.closed or (self._gone_after and not self._dialogue and not self._answers):
            raise PortGone("scripted: pulled")
        if not self._answers:
            threading.Event().wait(remaining(deadline_s))
            return b""
        data = bytes(self._answers[: min(size, self._piece)])
        del self._answers[: len(data)]
        return data

    def write(self, data: bytes, deadline_s: float) -> None:
        """See BytePort."""
        if self.closed:
            raise PortGone("scripted: closed")
        self._written += data
        while self._written:
            assert self._dialogue, f"the driver wrote {self._written.hex(' ')} after the dialogue's end"
            expected = self._dialogue[0].wrote
            got = bytes(self._written[: len(expected)])
            assert expected.startswith(got), f"expected {expected.hex(' ')}\n     got {self._written.hex(' ')}"
            if len(got) < len(expected):
                return
            del self._written[: len(expected)]
            self._answers += self._dialogue.pop(0).answer

    def close(self) -> None:
        """See BytePort."""
        self.closed = True


class AnsweringPort(ScriptedPort):
    """Answers every write by a function: for devices whose dialogue is too long to write down."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._answer = answer
        self.heard: list[bytes] = []

    def write(self, data: bytes, deadline_s: float) -> None:
        """See BytePort."""
        if self.closed:
            raise PortGone("scripted: closed")
        self.heard.append(data)
        self._answers += self._answer(data)
