"""reversalctl finds the agent, starts light, and keeps quiet about colours where none are wanted."""

from __future__ import annotations

import io
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from agent import VERSION
from agent import config as settings
from agent.cli import main
from agent.cli_place import CommandError, Place
from agent.status import snapshot
from tests.unit.status_samples import StillLoop, parked, scene, status_writer

# Each costs 10 ms or more at a start, on a board five times as much.
HEAVY = {
    "asyncio",
    "tomllib",
    "cryptography",
    "socket",
    "sqlite3",
    "difflib",
    "agent.texts",
    "agent.client",
    "agent.status",
}


# One lane; the built-in profile.
LANE = """
[[lane]]
name = "main"
profile = "unionpay-pos"
terminal_id = "10000001"
merchant_id = "102110000000001"
hosts = ["192.0.2.1:5000"]
"""


def options(**given: str) -> Namespace:
    return Namespace(**({"config": None, "socket": None, "status_file": None, "language": None} | given))


def test_status_loads_nothing_heavy(tmp_path: Path) -> None:
    """The promise is 80 ms for `reversalctl status`; what is not loaded takes no time."""
    status_writer(tmp_path).write(snapshot(StillLoop(parked()), scene()) | {"stale_after_s": 1e12})
    program = (
        "import sys; from agent.cli import main\n"
        f"main(['--status-file', {str(tmp_path / 'status.json')!r}, '--language', 'en', 'status'])\n"
        "print(*sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(told.stdout.splitlines()[-1].split())
    # The sample's writer is dead, so the texts for that are loaded: nothing else may be.
    assert loaded & (HEAVY - {"agent.texts", "tomllib"}) == set()


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[agent]\nrun_dir = "run"\n',
        '[agent]\nrun_dir = "/run/other"\nsocket = "x.sock"\nlanguage = "zh"\n',
        '[agent]\nsocket = "/run/elsewhere/x.sock"\n',
    ],
)
def test_the_light_reading_agrees_with_the_whole_configuration(tmp_path: Path, text: str) -> None:
    file = tmp_path / "reversald.toml"
    file.write_text(text + LANE)
    whole = settings.load(file).agent
    place = Place(options(config=str(file)), {})
    assert place.socket == whole.socket
    assert place.status_file == whole.run_dir / "status.json"
    assert place.language() == whole.language or not text


def test_the_options_win_over_everything(tmp_path: Path) -> None:
    place = Place(options(config=str(tmp_path / "none"), socket="/s", status_file="/f", language="zh"), {})
    assert (str(place.socket), str(place.status_file), place.language()) == ("/s", "/f", "zh")


def test_the_usual_places_are_taken_without_a_configuration() -> None:
    place = Place(options(), {"LANG": "zh_CN.UTF-8"})
    assert str(place.status_file) == "/run/reversald/status.json"
    assert str(place.socket) == "/run/reversald/agent.sock"
    assert place.language() == "zh"
    assert Place(options(), {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}).language() == "en"


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = Place(options(), {"REVERSALD_CONFIG": str(tmp_path / "none.toml")})
    with pytest.raises(CommandError) as refused:
        _ = missing.socket
    assert refused.value.code == "C-BAD-CONFIG"
    assert refused.value.exit_status == 78
    assert missing.language() == "en"


def test_the_version_is_told() -> None:
    out = io.StringIO()
    assert main(["version"], out) == 0
    assert out.getvalue() == f"reversalctl {VERSION}\n"


@pytest.mark.parametrize("program", ["agent", "agent.reversalctl"])
def test_both_programs_tell_their_version_and_a_wrong_command_line_by_its_code(program: str) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", program, *words], capture_output=True, text=True, check=False)

    told = run("--version")
    assert (told.returncode, told.stdout.split()[1:]) == (0, [VERSION])
    assert run("--no-such-option").returncode == 64


def test_a_file_gets_no_colours(tmp_path: Path) -> None:
    status_writer(tmp_path).write(snapshot(StillLoop(), scene()))
    out = io.StringIO()
    main(["--status-file", str(tmp_path / "status.json"), "status"], out)
    assert "\x1b" not in out.getvalue()


def test_the_help_of_every_command_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "list", "show", "why", "retry", "hold", "release", "park", "settle", "verify", "export"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert f"usage: reversalctl {command}" in capsys.readouterr().out.replace("\n", " ")
