"""The short way to the status gives what the long way gives, and leaves everything that is not plain to it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent import cli_place, cli_status, reversalctl
from agent.cli import main
from agent.status import snapshot
from agent.status_alive import writer
from tests.unit.status_samples import StillLoop, owed, scene


def place(tmp_path: Path, *, plain: bool = True) -> Path:
    """A configuration beside a run directory with the status of this very process."""
    run = tmp_path / "run"
    run.mkdir()
    document = snapshot(StillLoop(owed()), scene())
    fresh = {"updated_mono_s": 1e12, "watch": {}, "agent": {**document["agent"], **writer()}}
    (run / "status.json").write_text(json.dumps({**document, **fresh}), encoding="utf-8")
    configuration = tmp_path / "reversald.toml"
    directory = '"run"' if plain else "'run'"
    configuration.write_text(f'# text\n[agent]\nstate_dir = "state"\nrun_dir = {directory}\n\n[policy]\n')
    return configuration


def test_both_ways_say_the_same(tmp_path: Path) -> None:
    configuration = place(tmp_path)
    out = io.StringIO()
    status = main(["--config", str(configuration), "status"], out)
    assert reversalctl.quick(["--config", str(configuration), "status"], {}) == (out.getvalue(), status)
    assert reversalctl.quick(["status"], {"REVERSALD_CONFIG": str(configuration)}) == (out.getvalue(), status)


@pytest.mark.parametrize(
    "words", [[], ["list"], ["status", "--json"], ["--language", "zh", "status"], ["--config"], ["status", "status"]]
)
def test_other_words_go_the_long_way(tmp_path: Path, words: list[str]) -> None:
    assert reversalctl.quick(words, {"REVERSALD_CONFIG": str(place(tmp_path))}) is None


def test_a_writer_that_is_gone_goes_the_long_way(tmp_path: Path) -> None:
    configuration = place(tmp_path)
    file = tmp_path / "run/status.json"
    document = json.loads(file.read_text())
    for change in ({"agent": {**document["agent"], "pid": 1}}, {"stopped": {"reason": ""}}, {"schema": 99}):
        file.write_text(json.dumps({**document, **change}))
        assert reversalctl.quick(["--config", str(configuration), "status"], {}) is None
    file.write_text("{")
    assert reversalctl.quick(["--config", str(configuration), "status"], {}) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[agent]\nrun_dir = "/run/x"\n', "/run/x"),
        ('# the terminal\n\n[agent]\nlanguage = "zh"\n[policy]\nrun_dir = "no"\n', reversalctl.DEFAULT_RUN_DIR),
        ('[agent]\n# run_dir = "/run/x"\n', reversalctl.DEFAULT_RUN_DIR),
        ('[agent]\nrun_dir = "a\\u0062"\n', ""),
        ("[agent]\nrun_dir = '/run/x'\n", ""),
        ('[agent]\nrun_dir = "/run/x" # here\n', ""),
        ('[ agent ]\nrun_dir = "/run/x"\n', ""),
        ('agent.run_dir = "/run/x"\n', ""),
        ('agent = {run_dir = "/run/x"}\n[agent]\n', ""),
        ('[agent]\n"run_dir" = "/run/x"\n', ""),
        ('[policy]\nx = """\n[agent]\nrun_dir = "/run/x"\n"""\n', ""),
    ],
)
def test_the_run_directory_is_read_only_where_it_is_plain(tmp_path: Path, text: str, found: str) -> None:
    file = tmp_path / "reversald.toml"
    file.write_text(text, encoding="utf-8")
    assert reversalctl.run_dir(str(file)) == found


def test_what_is_written_twice_is_the_same() -> None:
    assert (reversalctl.EXIT, reversalctl.SCHEMA) == (cli_status.EXIT, cli_status.SCHEMA)
    assert Path(reversalctl.DEFAULT_CONFIGURATION) == cli_place.DEFAULT_CONFIGURATION
    assert Path(reversalctl.DEFAULT_RUN_DIR) == cli_place.DEFAULT_RUN_DIR


def test_the_short_way_loads_no_argparse_no_pathlib_no_toml(tmp_path: Path) -> None:
    configuration = place(tmp_path)
    program = (
        "import sys; from agent import reversalctl; "
        f"told = reversalctl.quick(['--config', {str(configuration)!r}, 'status'], {{}}); "
        "print(told is None, *sorted({'argparse', 'pathlib', 'tomllib', 'asyncio', 'socket'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, cwd=".")
    assert done.stdout.split() == ["False"]  # told, and nothing of these was loaded
