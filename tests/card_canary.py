"""Looks for known card data in whatever a program leaves behind, in every form in which it could stand there."""

from __future__ import annotations

import base64
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Secret:
    """One value that must never be seen, with its name for the report."""

    name: str
    digits: str

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """Name of the form, and the bytes that betray it."""
        plain = self.digits.encode("ascii")
        yield "clear", plain
        yield "UTF-16", self.digits.encode("utf-16-le")
        yield "reversed", plain[::-1]
        yield "grouped", " ".join(self.digits[at : at + 4] for at in range(0, len(self.digits), 4)).encode()
        yield "hex of clear", plain.hex().encode()
        yield "HEX of clear", plain.hex().upper().encode()
        yield from _base64("clear", plain)
        for packing, raw in _packed(self.digits):
            yield packing, raw
            yield f"{packing}, nibbles swapped", _swapped(raw)
            yield from _base64(packing, raw)


def _packed(digits: str) -> Iterator[tuple[str, bytes]]:
    """BCD from either nibble; an odd last nibble may be padded with anything and is left out."""
    text = digits.replace("=", "D")
    yield "BCD", bytes.fromhex(text[: len(text) // 2 * 2])
    yield "BCD, one nibble on", bytes.fromhex(text[1 : 1 + (len(text) - 1) // 2 * 2])


def _swapped(raw: bytes) -> bytes:
    return bytes(byte >> 4 | (byte & 0x0F) << 4 for byte in raw)


def _base64(name: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The characters that are the same whatever stands before and behind, at all three alignments."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        yield f"base64 of {name} at {before}", text[first:last]
        yield f"url base64 of {name} at {before}", base64.urlsafe_b64encode(bytes(before) + raw)[first:last]


class Canary:
    """All secrets in all forms. `found` names what stands where."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._forms = [(f"{secret.name} in {form}", data) for secret in secrets for form, data in secret.forms()]
        self.searched: dict[str, int] = {}

    def found(self, where: str, content: bytes) -> list[str]:
        """What of the secrets is in these bytes."""
        self.searched[where] = len(content)
        lower = content.lower()
        return [
            f"{where}: {name}"
            for name, data in self._forms
            if data in content or (data.isascii() and data.lower() in lower)
        ]

    def found_below(self, directory: Path) -> list[str]:
        """The same for every file below a directory, names included."""
        found: list[str] = []
        for path in sorted(directory.rglob("*")):
            found += self.found(f"the name {path}", str(path).encode())
            if path.is_file() and not path.is_symlink():
                found += self.found(str(path), path.read_bytes())
                found += self._found_inside(path)
        return found

    def _found_inside(self, path: Path) -> list[str]:
        """Compression would hide it: archives are searched file by file."""
        if not path.name.endswith((".tar.gz", ".tgz")):
            return []
        found: list[str] = []
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                content = archive.extractfile(member)
                found += self.found(f"{path.name}/{member.name}", content.read() if content else b"")
        return found

    def found_in_process(self, pid: int) -> list[str]:
        """Arguments, environment, and files that have no name any more."""
        found: list[str] = []
        for name in ("cmdline", "environ", "comm", "maps"):
            found += self.found(f"/proc/PID/{name}", Path(f"/proc/{pid}/{name}").read_bytes())
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink()) if link.is_symlink() else ""
            if target.startswith("/") and Path(f"/proc/{pid}/fd/{link.name}").is_file():
                found += self.found(f"open file {target}", link.read_bytes())
        return found
