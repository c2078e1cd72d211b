"""A conversation as text, one message a line: direction, hexadecimal bytes, and the time if it is known.

    # a sale and its answer
    10:00:00.000 > 004E6003010000602200000000 0200 ...
    10:00:01.250 < 0042 ...
    > 0400...                        no time: only the order counts

`>` goes to the host, `<` comes from it. Times are seconds, hh:mm:ss or ISO 8601; frames or bare messages both do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from agent.capture import FILE_BYTES_MAX, CaptureError
from agent.streams import Chunk
from protocol.hexdump import DumpError, read_dump

_LINE = re.compile(r"\s*([^<>#]*?)\s*([<>])\s*(.*)")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)")
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_DAY_S = 86_400.0


def read_transcript(text: str) -> list[Chunk]:
    """The messages of a text in its order. Raises CaptureError naming the line."""
    if len(text) > FILE_BYTES_MAX:
        raise CaptureError("the text is too large", "文本过大")
    chunks: list[Chunk] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        chunks.append(_chunk(number, line, chunks[-1].at if chunks else None))
    if not chunks:
        raise CaptureError("there is no message in the text", "文本中没有报文", "one message a line: > HEX or < HEX")
    return chunks


def _chunk(number: int, line: str, before: float | None) -> Chunk:
    match = _LINE.fullmatch(line)
    if match is None:
        raise CaptureError(
            f"line {number}: expected > or < before the bytes",
            f"第 {number} 行：报文前应有 > 或 <",
            "> goes to the host",
        )
    at = _time(number, match[1], before)
    try:
        data = read_dump(match[3])
    except DumpError as error:
        where = f"line {number}, column {match.start(3) + error.column}"
        raise CaptureError(f"{where}: no hexadecimal bytes", f"第 {number} 行：不是十六进制数据") from None
    return Chunk(at, "", "to-host" if match[2] == ">" else "from-host", "data", data)


def _time(number: int, text: str, before: float | None) -> float | None:
    """Seconds of a time; a clock that falls back by half a day has passed midnight."""
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    if clock := _CLOCK.fullmatch(text):
        at = int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
        while before is not None and at < before - _DAY_S / 2:
            at += _DAY_S
        return at
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise CaptureError(f"line {number}: this is no time", f"第 {number} 行：时间格式错误", "hh:mm:ss") from None
