"""The unmodified daemon, its power cut after every single write, sync and rename: nobody is charged without the goods.

Every state that the disk could have is laid out and started on: with all that was written, with only what was forced,
and with sectors of the rest kept, dropped, torn or turned to garbage. The sale must end as the application knows it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from agent import config as settings
from agent.journal import JournalUnreadable
from agent.vault import VaultError
from tests.conftest import Counted
from tests.crash import daemon_trace, powercut
from tests.crash.daemon_trace import Recording
from tests.crash.recovery import Outside, Recovery

SMALL, WITH_BALLAST = 131_072, 1_048_576
QUICK_EVERY = 12
BALLAST_EVERY = 15
VERIFY_EVERY = 10
TOO_SOON = 5  # calls by which a planted fault lets bytes leave before their time: a commit and its sync are as many


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return daemon_trace.record(tmp_path_factory.mktemp("traced"), SMALL)


def lay_out(files: dict[str, bytes], scratch: Path) -> Path:
    directory = scratch / "state"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in files.items():
        (directory / Path(name).name).write_bytes(content)
        (directory / Path(name).name).chmod(0o600)
    return directory


def wrong(state: Path, configuration: settings.Configuration, outside: Outside, *, verify: bool) -> str:
    """What is wrong after a restart on these files; "" if nothing is."""
    try:
        recovery = Recovery(state, configuration, outside)
    except (JournalUnreadable, VaultError) as error:
        return f"refused: {error}"
    recovery.to_rest()
    found = "; ".join(recovery.wrongs())
    recovery.close()
    if verify and not found and not recovery.verified():
        found = "verify finds the journal damaged"
    return found


def survive(recording: Recording, scratch: Path, random: Random, *, variants: int, every: int) -> Counter[str]:
    """Cut after every so many calls."""
    configuration, calls = settings.load(recording.configuration), recording.calls
    told: Counter[str] = Counter(states=0, violations=0)
    for number, _, files in powercut.states(calls, recording.directory, random, variants, every):
        outside = Outside()
        for call in calls[: number + 1]:
            outside.hear(call)
        told["states"] += 1
        verify = told["states"] % VERIFY_EVERY == 0
        if problem := wrong(lay_out(files, scratch), configuration, outside, verify=verify):
            told["violations"] += 1
            told[f"call {number} {calls[number].name} {Path(calls[number].paths[0]).name}: {problem}"] += 1
    return told


def check(told: Counter[str], counted: Counted, least: int) -> None:
    counted("crash: power cuts of the daemon", disk_states_rebuilt=told["states"], violations=told["violations"])
    assert told["violations"] == 0, told.most_common(5)
    assert told["states"] >= least


def test_no_power_cut_of_the_daemon_charges_without_delivery(small: Recording, scratch: Path, counted: Counted) -> None:
    check(survive(small, scratch, Random(1), variants=1, every=QUICK_EVERY), counted, 60)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_power_cut_at_any_call_of_the_daemon_charges_without_delivery(
    small: Recording, scratch: Path, counted: Counted
) -> None:
    check(survive(small, scratch, Random(2), variants=3, every=1), counted, 1000)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nor_where_log_filler_and_ballast_were_made_in_advance(tmp_path: Path, scratch: Path, counted: Counted) -> None:
    recording = daemon_trace.record(tmp_path, WITH_BALLAST)
    check(survive(recording, scratch, Random(3), variants=1, every=BALLAST_EVERY), counted, 150)


def test_a_disk_that_lies_about_syncs_is_found_by_this_harness(small: Recording, scratch: Path) -> None:
    lying = replace(small, calls=powercut.lie(small.calls, Random(4), 0.5))
    assert survive(lying, scratch, Random(4), variants=0, every=QUICK_EVERY)["violations"]


def test_bytes_that_leave_before_their_record_is_synced_are_found_by_this_harness(
    small: Recording, scratch: Path
) -> None:
    calls = list(small.calls)
    for at in [number for number, call in enumerate(calls) if call.name == "sent"]:
        calls.insert(at - TOO_SOON, calls.pop(at))
    told = survive(replace(small, calls=calls), scratch, Random(5), variants=0, every=6)
    assert any("left and is in no record" in what for what in told)


def test_what_a_killed_process_wrote_is_forced_out_before_the_next_one_believes_it(small: Recording) -> None:
    """Else a power cut could take from the second process what it has acted on. Found by the simulator."""
    log = f"{small.directory}/journal.db-wal"
    calls = [call.name for call in small.calls[small.restart :] if log in call.paths or call.name in ("sent", "told")]
    assert "sync" in calls[: calls.index("sent")]
    first = next(name for name in calls if name != "open")
    assert first == "sync", "the log of the process before is synced before anything else is done with it"
