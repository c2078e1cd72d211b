"""A disk that forgets: from the system calls of a real process to every state that a power cut could have left.

The model: a write reaches the platter with the next sync of its file; a new, renamed or removed name with the next sync
of its directory. Until then a power cut may keep it, drop it, tear it at 512-byte sectors, or leave a sector of garbage
where it was to go. Names that were not forced appear in order, up to any point. What was forced stays.

`record` needs strace. Source of the model: SQLite's src/test6.c (garbage sectors), ALICE (OSDI 2014), POSIX.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

SECTOR_BYTES = 512
OUTSIDE = ("sent", "told")  # what the world learnt between two calls: see daemon_trace.py
ROOT = Path(__file__).resolve().parents[2]
_CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,fallocate,rename,unlink,link"
_LINE = re.compile(r"(\w+)\((.*)\)\s+= (\S+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PATH = re.compile(r"<((?:\\x[0-9a-f]{2})*)>")


@dataclass(frozen=True)
class Call:
    """One system call below the recorded directory; `name` "ack" for a line of output, or one of OUTSIDE."""

    name: str
    paths: tuple[str, ...]
    data: bytes = b""
    offset: int = 0


@dataclass
class File:
    """What the platter holds, and what is only written."""

    durable: bytearray = field(default_factory=bytearray)
    waiting: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: truncated or extended to the offset

    def sync(self) -> None:
        """Everything waiting reaches the platter."""
        self.durable = self.content()
        self.waiting.clear()

    def content(self) -> bytearray:
        """What a reader sees while the power is on."""
        seen = bytearray(self.durable)
        for offset, data in self.waiting:
            _apply(seen, offset, data)
        return seen


@dataclass
class Disk:
    """Files, the names that are forced, and the changes of names that are not."""

    files: list[File] = field(default_factory=list)
    durable: dict[str, int] = field(default_factory=dict)
    changes: list[dict[str, int | None]] = field(default_factory=list)
    acknowledged: int = 0

    def names(self, changes: int | None = None) -> dict[str, int]:
        """The names with the first so many waiting changes (None: all)."""
        seen: dict[str, int] = dict(self.durable)
        for change in self.changes[:changes]:
            for name, number in change.items():
                seen.pop(name, None)
                if number is not None:
                    seen[name] = number
        return seen

    def perform(self, call: Call, directory: str) -> None:
        """One call of the recorded process."""
        names = self.names()
        if call.name == "ack":
            self.acknowledged = max(self.acknowledged, int(call.data))
        elif call.name in OUTSIDE:
            return
        elif call.name == "open":
            if call.paths[0] not in names and call.paths[0] != directory:
                self.files.append(File())
                self.changes.append({call.paths[0]: len(self.files) - 1})
        elif call.name == "sync":
            self._sync(call.paths[0], directory, names)
        elif call.name == "rename":
            self.changes.append({call.paths[0]: None, call.paths[1]: names[call.paths[0]]})
        elif call.name == "link":
            self.changes.append({call.paths[1]: names[call.paths[0]]})
        elif call.name == "unlink":
            self.changes.append({call.paths[0]: None})
        else:
            data = call.data if call.name == "write" else None
            self.files[names[call.paths[0]]].waiting.append((call.offset, data))

    def _sync(self, path: str, directory: str, names: dict[str, int]) -> None:
        if path == directory:
            self.durable = names
            self.changes.clear()
        else:
            self.files[names[path]].sync()


def record(directory: Path, count: int, *more: str) -> list[Call]:
    """The calls of one run of the journal's worker in `directory`; skips the test where there is no strace."""
    return record_of("tests.crash.journal_worker", directory, count, "run", str(directory), str(count), "0", *more)


def record_of(module: str, directory: Path, count: int, *arguments: str) -> list[Call]:
    """The same of any module that says `ack NUMBER` on its standard output, `count` times."""
    if shutil.which("strace") is None:
        pytest.skip("no strace; to run this test: apt install strace")
    trace = directory.with_name("trace")
    worker = [sys.executable, "-m", module, *arguments]
    strace = ["strace", "-y", "-xx", "-s", "9999999", "-e", f"trace={_CALLS}", "-o", str(trace)]
    output = trace.with_name("output")
    with output.open("wb") as stream:
        subprocess.run([*strace, *worker], stdout=stream, check=True, cwd=ROOT)
    calls = [call for line in trace.read_text().splitlines() for call in _calls(line, str(directory), str(output))]
    assert sum(call.name == "ack" for call in calls) == count, "the trace must hold every acknowledgement"
    return calls


def states(
    calls: list[Call], directory: str, random: Random, variants: int, every: int = 1
) -> Iterator[tuple[int, int, dict[str, bytes]]]:
    """For a cut after each call, in several variants: (number of the call, acknowledged so far, the files).

    `every`: of the calls that change the disk only each so many-th.
    """
    disk, changes = Disk(), 0
    for number, call in enumerate(calls):
        disk.perform(call, directory)
        changes += call.name not in ("open", "ack", *OUTSIDE)
        if call.name in ("open", "ack", *OUTSIDE) or changes % every:
            continue
        yield number, disk.acknowledged, _cut(disk, None, random)
        yield number, disk.acknowledged, _cut(disk, 0.0, random)
        for _ in range(variants):
            yield number, disk.acknowledged, _cut(disk, random.choice((0.2, 0.5, 0.8)), random)


def lie(calls: list[Call], random: Random, share: float) -> list[Call]:
    """The same run on a disk that ignores a share of the syncs: the harness must notice."""
    return [call for call in calls if call.name != "sync" or random.random() > share]


def _cut(disk: Disk, keep: float | None, random: Random) -> dict[str, bytes]:
    """The files after a cut; `keep` None: all that was written is there, else the chance of each sector."""
    cut = deepcopy(disk)
    names = cut.names(None if keep is None else random.randint(0, len(cut.changes)) if keep else 0)
    return {name: bytes(_platter(cut.files[number], keep, random)) for name, number in names.items()}


def _platter(file: File, keep: float | None, random: Random) -> bytearray:
    if keep is None:
        return file.content()
    held = bytearray(file.durable)
    for offset, data in file.waiting:
        if data is None:
            if random.random() < keep:
                _apply(held, offset, None)
            continue
        for start, piece in _sectors(offset, data):
            fate = random.random()
            if fate < keep:
                _apply(held, start, piece)
            elif keep and fate > 0.97:
                _apply(held, start - start % SECTOR_BYTES, random.randbytes(SECTOR_BYTES))
    return held


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        end = min(len(data), start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES)
        yield offset + start, data[start:end]
        start = end


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset if data is None else offset + len(data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:end] = data


def _calls(line: str, directory: str, output: str) -> Iterator[Call]:
    found = _LINE.match(line)
    if found is None or found[3].startswith("-"):
        return
    name, arguments, result = found.groups()
    strings = [_bytes(text) for text in _STRING.findall(arguments)]
    paths = [_bytes(text).decode() for text in _PATH.findall(arguments if name != "openat" else result)]
    numbers = [int(word) for word in re.findall(r", (\d+)(?=[,)]|$)", _STRING.sub('""', arguments))]
    if name == "write" and paths == [output] and strings[0].startswith(b"ack "):
        yield Call("ack", (), strings[0].split()[1])
        return
    targets = tuple(text.decode() for text in strings) if name in ("rename", "link", "unlink") else tuple(paths)
    if not targets or not all(path == directory or path.startswith(directory + "/") for path in targets):
        return
    yield from _translate(name, targets, strings, numbers)


def _translate(name: str, paths: tuple[str, ...], strings: list[bytes], numbers: list[int]) -> Iterator[Call]:
    if name == "openat":
        yield Call("open", paths)
    elif name in ("fsync", "fdatasync"):
        yield Call("sync", paths)
    elif name == "pwrite64":
        yield Call("write", paths, strings[0], numbers[-1])
    elif name == "write":
        yield Call("write", paths, strings[0], 0)  # whole small files only: key and mark
    elif name == "ftruncate":
        yield Call("truncate", paths, offset=numbers[-1])
    elif name in ("rename", "link", "unlink"):
        yield Call(name, paths)
    else:
        raise AssertionError(f"a call the model does not know: {name} {paths}")


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
