"""A process that does to a key file all that is ever done to one, and tells what was done.

python -m tests.crash.key_worker DIRECTORY OUTSIDE
    the key file is DIRECTORY/data.key; OUTSIDE holds two wrapping keys, and gets what each step sealed: `body-NUMBER`.
    Each line of output is `ack NUMBER`: the step of that number (from 1) is done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from agent.vault import Vault
from agent.wrapping_key import WrappingKey

FILE = "data.key"


def sources(outside: Path, *names: str) -> list[WrappingKey]:
    """By the names of their files, the first one wraps."""
    return [WrappingKey.in_file(outside / name) for name in names]


def create_in_clear(file: Path, outside: Path) -> Vault:
    vault = Vault.open_or_create(file, [])
    vault.settle()
    return vault


def wrap(file: Path, outside: Path) -> Vault:
    vault = Vault.open(file, sources(outside, "first"))
    vault.wrap()
    return vault


def rotate(file: Path, outside: Path) -> Vault:
    vault = Vault.open(file, sources(outside, "first"))
    vault.rotate()
    return vault


def change_source(file: Path, outside: Path) -> Vault:
    vault = Vault.open(file, sources(outside, "second", "first"))
    vault.wrap()
    return vault


def unwrap(file: Path, outside: Path) -> Vault:
    vault = Vault.open(file, sources(outside, "second"))
    vault.unwrap()
    return vault


def rotate_into_wrapped(file: Path, outside: Path) -> Vault:
    vault = Vault.open(file, sources(outside, "second"))
    vault.rotate()
    return vault


def destroy(file: Path, outside: Path) -> Vault:
    vault = Vault.open(file, sources(outside, "second"))
    vault.destroy_old()
    return vault


STEPS: tuple[Callable[[Path, Path], Vault], ...] = (
    *(create_in_clear, wrap, rotate, change_source, rotate_into_wrapped, unwrap, rotate_into_wrapped, destroy),
)


def context(number: int) -> bytes:
    """Of what the step sealed."""
    return b"step %d" % number


def run(directory: Path, outside: Path) -> None:
    """All steps."""
    for number, step in enumerate(STEPS, 1):
        vault = step(directory / FILE, outside)
        (outside / f"body-{number}").write_bytes(vault.seal(b"owed", context(number)))
        os.write(1, b"ack %d\n" % number)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
