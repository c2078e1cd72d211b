"""Valid messages of every profile, as the seeds of mutations: made here, and kept as files in corpus/.

The corpus holds one message a line in hexadecimal, by profile: what the profile itself makes, and inputs that once were
trouble (`corpus/troubles.txt`: profile, message).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from protocol.iso8583 import Message
from protocol.mti import reply_to
from protocol.reversal import freeze
from tests.unit.protocol_samples import PROFILES, request_of, reversible, shipped

CORPUS = Path(__file__).with_name("corpus")


@cache
def seeds(name: str) -> list[bytes]:
    """Requests, reversals and acknowledgements of a profile, packed."""
    found: list[bytes] = []
    for profile_name, kind in reversible():
        if profile_name == name:
            profile, request = request_of(name, kind)
            frozen = freeze(request, profile, "timeout", own_stan="000008")
            sent = profile.codec.unpack(frozen.body)
            hidden = (14, 35, 52, 53, 55)
            kept = {field: value for field, value in sent.fields.items() if field not in hidden}
            reply = Message(reply_to(sent.mti), {**kept, 39: "400" if name == "iso93" else "00"})
            found += [profile.codec.pack(request), frozen.body, profile.codec.pack(reply)]
    return found


def is_same(packed: bytes, received: bytes) -> bool:
    """Tells whether two messages are the same but for pad nibbles, where a profile accepts both 0 and F."""
    if len(packed) != len(received):
        return False
    return all(a == b or a ^ b in (0x0F, 0xF0) for a, b in zip(packed, received, strict=True))


def kept(name: str) -> list[bytes]:
    """The messages of a profile that are kept as a file."""
    lines = (CORPUS / f"{name}.hex").read_text("ascii").split()
    return [bytes.fromhex(line) for line in lines]


def troubles() -> list[tuple[str, bytes]]:
    """Inputs that once were trouble, with the profile that reads them."""
    rows = []
    for line in (CORPUS / "troubles.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, text = line.split()[:2]
            rows.append((name, bytes.fromhex(text)))
    return rows


def write() -> None:
    """Writes the corpus anew: `python -m tests.property.protocol_corpus` after a change of a profile on purpose."""
    for name in PROFILES:
        assert shipped(name).codec
        (CORPUS / f"{name}.hex").write_text("".join(f"{body.hex().upper()}\n" for body in seeds(name)), "ascii")


if __name__ == "__main__":
    write()
