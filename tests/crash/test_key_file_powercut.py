"""Every state that a power cut could leave of a key file: what was sealed and not destroyed opens at the next start."""

from __future__ import annotations

import base64
import os
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from agent.key_file import KeyFile
from agent.vault import Vault, VaultError
from tests.conftest import Counted
from tests.crash import powercut
from tests.crash.key_worker import FILE, STEPS, context, destroy, sources


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is on other media: two wrapping keys, and what was sealed."""
    place = tmp_path_factory.mktemp("outside")
    for name in ("first", "second"):
        (place / name).write_bytes(base64.b64encode(os.urandom(32)))
        (place / name).chmod(0o600)
    return place


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, outside: Path) -> tuple[list[powercut.Call], str]:
    directory = tmp_path_factory.mktemp("powercut") / "state"
    directory.mkdir()
    calls = powercut.record_of("tests.crash.key_worker", directory, len(STEPS), str(directory), str(outside))
    return calls, str(directory)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "state"


def lay_out(files: dict[str, bytes], scratch: Path) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name, content in files.items():
        (scratch / Path(name).name).write_bytes(content)
        (scratch / Path(name).name).chmod(0o600)
    return scratch / FILE


def wrong(file: Path, outside: Path, acknowledged: int) -> str:
    """What is wrong after the next start; "" if nothing is."""
    try:
        vault = Vault.open_or_create(file, [], sources(outside, "second", "first"))
        vault.sweep()
    except VaultError as error:
        return f"refused: {error}"
    if not acknowledged:
        return "" if vault.fresh or file.exists() else "the first start left something else than a new key"
    destroying = STEPS.index(destroy) + 1
    for number in range(1, acknowledged + 1):
        if acknowledged >= destroying - 1 and number < destroying - 1:
            continue  # destroyed, or about to be
        body = (outside / f"body-{number}").read_bytes()
        try:
            vault.open_sealed(body, context(number))
        except VaultError as error:
            return f"what step {number} sealed does not open: {error.text}"
    return clear_beside_wrapped(file, vault, outside)


def clear_beside_wrapped(file: Path, vault: Vault, outside: Path) -> str:
    """Keys that stand in clear in a file that nobody looks at any more."""
    if not vault.wrapped_under:
        return ""
    ring = KeyFile(file, sources(outside, "second", "first")).load()
    texts = [base64.b64encode(key) for key in ring.keys]
    found = [one.name for one in file.parent.iterdir() if any(text in one.read_bytes() for text in texts)]
    return f"{found} hold keys in clear" if found else ""


def survived(
    recorded: tuple[list[powercut.Call], str], outside: Path, scratch: Path, seed: int, variants: int
) -> Counter[str]:
    told: Counter[str] = Counter()
    calls, directory = recorded
    for number, acknowledged, files in powercut.states(calls, directory, Random(seed), variants):
        told["states"] += 1
        if problem := wrong(lay_out(files, scratch), outside, acknowledged):
            told["violations"] += 1
            told[f"call {number} {calls[number].name}: {problem}"] += 1
    return told


@pytest.mark.parametrize("seed", range(4))
def test_no_power_cut_makes_a_key_unreadable_that_something_needs(
    recorded: tuple[list[powercut.Call], str], outside: Path, scratch: Path, counted: Counted, seed: int
) -> None:
    told = survived(recorded, outside, scratch, seed, 3)
    counted("crash: power cuts of the key file", disk_states_rebuilt=told["states"], violations=told["violations"])
    assert told["violations"] == 0, told.most_common(5)
    assert told["states"] > 150


def test_a_lying_disk_is_found_by_this_harness(
    recorded: tuple[list[powercut.Call], str], outside: Path, scratch: Path
) -> None:
    calls, directory = recorded
    lying = powercut.lie(calls, Random(5), 1.0)
    assert survived((lying, directory), outside, scratch, 5, 1)["violations"]
