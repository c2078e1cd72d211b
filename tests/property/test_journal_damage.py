"""One flipped bit, or a file cut short, anywhere: refused, or everything is still there. Never silently less.

The quick run takes places at random; the whole run takes every byte of every header (of the files, of their pages, of
the log's frames, of the mark's slots, and the whole key) and each so many-th of the rest. Every single byte of every
file, which takes a quarter of an hour: `python -m tests.property.flip_everything`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from agent.journal_current import counters_of
from tests.conftest import Counted
from tests.property.damage_places import make_places, structure

ROOT = Path(__file__).resolve().parents[2]
REST_EVERY = 41
CHUNK = 400  # places for one process: a refused journal keeps its files open
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
    return make_places(tmp_path_factory.mktemp("damage"), transactions=6)


@pytest.fixture(scope="module")
def small_places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_places(tmp_path_factory.mktemp("damage"), transactions=2)


def chosen(place: Path, name: str, kind: str, count: int) -> list[int]:
    size = os.stat(place / name).st_size
    return sorted(Random(f"{name} {kind}").sample(range(size), min(count, size)))


def outcomes(
    place: Path, scratch: Path, name: str, kind: str, positions: Sequence[int], counted: Counted
) -> Counter[str]:
    words: list[str] = []
    for at in range(0, len(positions), CHUNK):
        command = [sys.executable, "-m", "tests.property.flip_one", place, scratch / "copy", name, kind]
        command += positions[at : at + CHUNK]
        done = subprocess.run([str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        words += done.stdout.split()
    assert len(words) == len(positions)
    wrong = [position for position, word in zip(positions, words, strict=True) if word in ("DIFFERENT", "ERROR")]
    told = Counter(words)
    done_to = {"flip": "bytes_flipped", "cut": "files_cut_short"}[kind]
    figures = {done_to: len(positions), "refused": told["refused"], "unharmed": told["same"], "violations": len(wrong)}
    counted("crash: damaged files", **figures)
    assert not wrong, f"{kind} of {name} changed what is read at {wrong[:10]}"
    return told


@pytest.mark.parametrize(("place", "name"), CASES)
def test_a_flipped_bit_is_refused_or_harmless(
    places: Path, tmp_path: Path, counted: Counted, place: str, name: str
) -> None:
    told = outcomes(places / place, tmp_path, name, "flip", chosen(places / place, name, "flip", 120), counted)
    # A flip in the mark costs one of its two slots; one in pages that the log holds anew is overwritten by it.
    assert told["refused"] > 0 or (place, name) in HARMLESS


@pytest.mark.parametrize(("place", "name"), CASES)
def test_a_file_cut_short_is_refused_or_harmless(
    places: Path, tmp_path: Path, counted: Counted, place: str, name: str
) -> None:
    told = outcomes(places / place, tmp_path, name, "cut", chosen(places / place, name, "cut", 40), counted)
    assert told["refused"] > 0


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["flip", "cut"])
@pytest.mark.parametrize(("place", "name"), CASES)
def test_damage_of_every_header_is_refused_or_harmless(
    small_places: Path, tmp_path: Path, counted: Counted, place: str, name: str, kind: str
) -> None:
    content = (small_places / place / name).read_bytes()
    headers = structure(name, content)
    every = set(range(0, len(content), REST_EVERY))
    positions = sorted(headers | every if kind == "flip" else every)
    outcomes(small_places / place, tmp_path, name, kind, positions, counted)


@pytest.mark.parametrize("damaged", [1.5, "5", "[1]", "{", '"x"'])
def test_counters_that_are_none_any_more_are_none_and_no_error_of_our_own(damaged: object) -> None:
    """A flipped type byte makes a number of a text: the check must live to say so."""
    assert counters_of(damaged) == {}  # type: ignore[arg-type]
