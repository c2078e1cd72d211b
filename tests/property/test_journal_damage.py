"""One flipped bit, or a file cut short, anywhere: refused, or everything is still there. Never silently less."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.journal_scenes import Home, sale

ROOT = Path(__file__).resolve().parents[2]
CASES = [
    ("closed", "journal.db"),
    ("killed", "journal.db"),
    ("killed", "journal.db-wal"),
    ("closed", "journal.mark"),
    ("closed", "journal.key"),
]
HARMLESS = [("killed", "journal.db"), ("closed", "journal.mark")]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below it: "killed" (older transactions in the database, newer ones in the log only) and "closed" (no log)."""
    directory = tmp_path_factory.mktemp("damage")
    home = Home(directory / "running")
    home.directory.mkdir()
    journal = home.open(checkpoint_frames=10_000)
    for number in range(6):
        sale(journal, f"old {number}", "begun", "reversing", "reversed")
    journal.close()
    journal = home.open(checkpoint_frames=10_000)
    for number in range(6):
        sale(journal, f"new {number}", "begun", "reversing")
    home.copy(directory / "killed")
    journal.close()
    home.copy(directory / "closed")
    return directory


def outcomes(place: Path, scratch: Path, name: str, kind: str, count: int) -> Counter[str]:
    size = os.stat(place / name).st_size
    positions = sorted(Random(f"{name} {kind}").sample(range(size), min(count, size)))
    command = [sys.executable, "-m", "tests.property.flip_one", place, scratch / "copy", name, kind, *positions]
    done = subprocess.run([str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    words = done.stdout.split()
    assert len(words) == len(positions)
    wrong = [position for position, word in zip(positions, words, strict=True) if word == "DIFFERENT"]
    assert not wrong, f"{kind} of {name} changed what is read at {wrong[:10]}"
    return Counter(words)


@pytest.mark.parametrize(("place", "name"), CASES)
def test_a_flipped_bit_is_refused_or_harmless(places: Path, tmp_path: Path, place: str, name: str) -> None:
    told = outcomes(places / place, tmp_path, name, "flip", 120)
    # A flip in the mark costs one of its two slots; one in pages that the log holds anew is overwritten by it.
    assert told["refused"] > 0 or (place, name) in HARMLESS


@pytest.mark.parametrize(("place", "name"), CASES)
def test_a_file_cut_short_is_refused_or_harmless(places: Path, tmp_path: Path, place: str, name: str) -> None:
    told = outcomes(places / place, tmp_path, name, "cut", 40)
    assert told["refused"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("place", "name"), [("closed", "journal.db"), ("killed", "journal.db-wal")])
def test_many_flipped_bits_are_refused_or_harmless(places: Path, tmp_path: Path, place: str, name: str) -> None:
    outcomes(places / place, tmp_path, name, "flip", 450)
