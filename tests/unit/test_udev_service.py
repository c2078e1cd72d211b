"""The service runs without rights it does not need, restarts when that helps, and keeps what must be kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from agent.__main__ import DEFAULT_CONFIGURATION
from agent.client import DEFAULT_SOCKET
from agent.config_schema import Agent
from agent.daemon import EX_CONFIG, EX_IOERR, EX_SOFTWARE, EX_USAGE

UDEV = Path(__file__).parents[2] / "udev"
UNIT = UDEV / "reversald.service"
EXPOSURE_MAX = 1.5


def needs(command: str) -> str:
    found = shutil.which(command)
    if found is None:
        pytest.skip(f"no {command} here: apt-get install systemd")
    return found


def settings(section: str) -> dict[str, list[str]]:
    """Key -> values of a section; keys may be given several times."""
    after = re.split(rf"^\[{section}\]$", UNIT.read_text(), maxsplit=1, flags=re.MULTILINE)[1]
    lines = re.split(r"^\[", after, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    values: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            values.setdefault(key, []).append(value)
    return values


SERVICE = settings("Service")


def test_the_exposure_is_low(capsys: pytest.CaptureFixture[str]) -> None:
    command = [needs("systemd-analyze"), "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Overall exposure level for reversald.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    with capsys.disabled():
        print(f"\nsystemd-analyze security: exposure {found.group(1)}")
    assert float(found.group(1)) <= EXPOSURE_MAX, done.stdout


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    command = needs("systemd-analyze")
    unit = tmp_path / "reversald.service"
    unit.write_text(re.sub(r"/usr/bin/reversald .*", "/bin/true", UNIT.read_text()))
    done = subprocess.run([command, "verify", "--man=no", str(unit)], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "reversald.service" in line]
    assert complaints == []


def test_a_mistake_that_only_a_person_can_mend_is_not_tried_again() -> None:
    never = {int(code) for code in SERVICE["RestartPreventExitStatus"][0].split()}
    assert never == {EX_USAGE, EX_CONFIG}
    assert not never & {EX_SOFTWARE, EX_IOERR, 0}
    assert SERVICE["Restart"] == ["always"]
    assert settings("Unit")["StartLimitIntervalSec"] == ["0"]


def test_a_configuration_error_cannot_loop_through_a_check_before_the_start() -> None:
    assert "ExecStartPre" not in SERVICE


def test_a_reload_checks_the_file_before_the_daemon_hears_of_it() -> None:
    check, reload = SERVICE["ExecReload"]
    assert check == f"/usr/bin/reversald --check-config --config {DEFAULT_CONFIGURATION}"
    assert reload == f"/usr/bin/reversalctl --config {DEFAULT_CONFIGURATION} reload"


def test_the_watchdog_is_fed_by_the_daemon_alone() -> None:
    assert SERVICE["Type"] == ["notify"]
    assert SERVICE["NotifyAccess"] == ["main"]
    assert int(SERVICE["WatchdogSec"][0]) > 0


def test_no_core_file_is_ever_written() -> None:
    assert SERVICE["LimitCORE"] == ["0"]


def test_the_daemon_is_not_root() -> None:
    assert SERVICE["User"] == ["reversald"]
    assert SERVICE["CapabilityBoundingSet"] == [""]
    assert SERVICE["NoNewPrivileges"] == ["yes"]


def test_the_status_stays_when_the_daemon_is_dead() -> None:
    assert SERVICE["RuntimeDirectoryPreserve"] == ["yes"]
    assert SERVICE["RuntimeDirectoryMode"] == ["0755"]


def test_the_places_are_those_of_the_defaults() -> None:
    assert Path("/run") / SERVICE["RuntimeDirectory"][0] == Agent().run_dir == DEFAULT_SOCKET.parent
    assert Path("/var/lib") / SERVICE["StateDirectory"][0] == Agent().state_dir
    assert SERVICE["ExecStart"] == [f"/usr/bin/reversald --config {DEFAULT_CONFIGURATION}"]


def test_serial_lines_and_usb_can_be_used_and_nothing_else() -> None:
    """USB by number, so that it does not depend on what is loaded at the start: tests/e2e/test_systemd.py shows it."""
    allowed = {value.split()[0] for value in SERVICE["DeviceAllow"]}
    assert allowed == {f"char-{name}" for name in ("ttyS", "ttyAMA", "ttymxc", "166", "188", "189")}
    assert SERVICE["DevicePolicy"] == ["closed"]
    assert "PrivateDevices" not in SERVICE


def test_hosts_the_local_interface_and_hot_plug_can_be_reached() -> None:
    families = set(SERVICE["RestrictAddressFamilies"][0].split())
    assert families == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
    assert "PrivateNetwork" not in SERVICE


def test_peers_of_the_socket_are_seen_under_their_own_names() -> None:
    """In a user namespace every other user would look like nobody."""
    assert "PrivateUsers" not in SERVICE


def test_the_system_calls_are_those_of_an_ordinary_service() -> None:
    """That the daemon gets on with these is shown by tests/e2e/test_service_sandbox.py."""
    assert SERVICE["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: users are made in a directory of its own")
def test_users_and_directories_are_made_with_their_rights(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    users, files = UDEV / "reversald.sysusers.conf", UDEV / "reversald.tmpfiles.conf"
    subprocess.run([needs("systemd-sysusers"), root, str(users)], check=True, capture_output=True)
    subprocess.run([needs("systemd-tmpfiles"), root, "--create", str(files)], check=True, capture_output=True)
    fields = next(line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("reversald:"))
    uid, gid = map(int, fields.split(":")[2:4])
    rights = {}
    for place in ("etc/reversald", "var/lib/reversald", "run/reversald"):
        status = (tmp_path / place).stat()
        rights[place] = (oct(stat.S_IMODE(status.st_mode)), status.st_uid, status.st_gid)
    assert rights == {
        "etc/reversald": ("0o750", 0, gid),
        "var/lib/reversald": ("0o700", uid, gid),
        "run/reversald": ("0o755", uid, gid),
    }
    assert uid != 0, json.dumps(rights)
