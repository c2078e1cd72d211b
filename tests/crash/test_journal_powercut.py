"""Every state that a power cut could leave of a real run: no acknowledged commit is ever lost."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from agent.journal import JournalUnreadable
from agent.vault import VaultError
from tests.conftest import Counted
from tests.crash import powercut
from tests.crash.journal_worker import txn_of
from tests.journal_scenes import Home

COMMITS = 14  # the worker empties the log every 30 frames: about two checkpoints


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[powercut.Call], str]:
    directory = tmp_path_factory.mktemp("powercut") / "store"
    directory.mkdir()
    return powercut.record(directory, COMMITS), str(directory)


def lay_out(files: dict[str, bytes], scratch: Path) -> Home:
    directory = scratch / "store"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in files.items():
        (directory / Path(name).name).write_bytes(content)
        (directory / Path(name).name).chmod(0o600)
    return Home(directory)


def lost(home: Home, acknowledged: int) -> str:
    """What is wrong after a restart: "" if every acknowledged commit is there and at most one more."""
    try:
        journal = home.open(check_last=None)
    except (JournalUnreadable, VaultError) as error:
        return f"refused: {error}"
    head = journal.health().head_seq
    found = ""
    if not acknowledged <= head <= acknowledged + 1:
        found = f"{acknowledged} acknowledged, {head} found"
    for number in range(head):
        if all(row.seq != number + 1 for row in journal.history(txn_of(number))):
            found = f"commit {number} is not in the history"
    if journal.counters() != ({"stan L1": head - 1} if head else {}):
        found = f"the counters are {journal.counters()} after {head} commits"
    journal.close()
    return found


def violations(calls: list[powercut.Call], directory: str, scratch: Path, seed: int, variants: int) -> Counter[str]:
    told: Counter[str] = Counter()
    for number, acknowledged, files in powercut.states(calls, directory, Random(seed), variants):
        problem = lost(lay_out(files, scratch), acknowledged)
        told["states"] += 1
        if problem:
            told["violations"] += 1
            told[f"call {number} {calls[number].name} {Path(calls[number].paths[0]).name}: {problem}"] += 1
    return told


def test_no_power_cut_loses_an_acknowledged_commit(
    calls: tuple[list[powercut.Call], str], scratch: Path, counted: Counted
) -> None:
    told = violations(*calls, scratch, seed=1, variants=1)
    counted("crash: power cuts of the journal", disk_states_rebuilt=told["states"], violations=told["violations"])
    assert told["states"] > 300
    assert told["violations"] == 0, told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 4))
def test_no_power_cut_loses_an_acknowledged_commit_in_many_variants(
    calls: tuple[list[powercut.Call], str], scratch: Path, counted: Counted, seed: int
) -> None:
    told = violations(*calls, scratch, seed, variants=4)
    counted("crash: power cuts of the journal", disk_states_rebuilt=told["states"], violations=told["violations"])
    assert told["violations"] == 0, told


def test_a_lying_disk_is_found_by_this_harness(calls: tuple[list[powercut.Call], str], scratch: Path) -> None:
    recorded, directory = calls
    told: Counter[str] = Counter()
    lying = powercut.lie(recorded, Random(7), 0.5)
    for _, acknowledged, files in powercut.states(lying, directory, Random(7), 0):
        if acknowledged and lost(lay_out(files, scratch), acknowledged):
            told["violations"] += 1
            break
    assert told["violations"], "a harness that finds nothing here finds nothing anywhere"


def killed_before_its_sync(recorded: list[powercut.Call], directory: str, which: int) -> powercut.Disk:
    """The disk when the process was killed between the writes and the sync of the commit with this number."""
    acks = [n for n, call in enumerate(recorded) if call.name == "ack"]
    syncs = [n for n, call in enumerate(recorded) if call.name == "sync" and call.paths[0].endswith("-wal")]
    disk = powercut.Disk()
    for call in recorded[: max(n for n in syncs if n < acks[which])]:
        disk.perform(call, directory)
    return disk


def reopened(disk: powercut.Disk, directory: str) -> list[powercut.Call]:
    """The calls of the next process, which finds in the kernel's cache what the killed one wrote."""
    place = Path(directory)
    shutil.rmtree(place)
    place.mkdir()
    for name, number in disk.names().items():
        Path(name).write_bytes(bytes(disk.files[number].content()))
        Path(name).chmod(0o600)
    return powercut.record(place, 0)


@pytest.mark.parametrize("which", [0, 5, COMMITS - 1])
def test_a_start_forces_to_the_disk_what_a_killed_process_only_wrote(
    calls: tuple[list[powercut.Call], str], scratch: Path, which: int
) -> None:
    """Else a start could act on a commit that the next power cut takes back."""
    recorded, directory = calls
    disk = killed_before_its_sync(recorded, directory, which)
    unsynced = lay_out({name: bytes(disk.files[n].content()) for name, n in disk.names().items()}, scratch)
    seen = unsynced.open()
    head = seen.health().head_seq
    seen.close()
    assert head == disk.acknowledged + 1, "the commit stands in the cache alone"
    following = reopened(disk, directory)
    store = ("journal.db", "journal.db-wal")
    touching = [(call.name, Path(call.paths[0]).name) for call in following if call.name in ("sync", "write")]
    assert {name for kind, name in touching[:3] if kind == "sync"} >= set(store), touching[:5]
    mark = next(n for n, call in enumerate(following) if call.name == "write" and call.paths[0].endswith(".mark"))
    for call in following[:mark]:
        disk.perform(call, directory)
    nothing_unsynced = powercut._cut(disk, 0.0, Random(1))
    assert lost(lay_out(nothing_unsynced, scratch), head) == ""
