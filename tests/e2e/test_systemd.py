"""The package under a real systemd: the service in its whole sandbox, and the maintainer scripts' systemd branch."""

from __future__ import annotations

import json
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import usbip

from hwsim.devices.pinpad_keys import TEST_KEYS, encrypted_under
from hwsim.host import HostServer
from hwsim.host.keys import UNIONPAY_MAK_SINGLE
from hwsim.host.settings import HostSettings
from protocol.mac import key_check_value
from tests.booted_debian import UNIT, BootedDebian
from tests.debian_root import SYSTEMD, DebianRoot, archive
from tests.installed_agent import PACKAGE, STATE, answers, built, configure, items, owe, sold, state_of_package
from tests.shop_bench import GOOD_CARD, pad_host

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CONFIGURATION = "/etc/reversald/reversald.toml"
STATUS = "/run/reversald/status.txt"
# Until the first overdue reversal is at the host, from the start of the process. Promised.
FIRST_REVERSAL_S = 2.0
# Short, so that a test sees it: the service's own is 30 s.
WATCHDOG_S = 2
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")

# Node, kind and numbers; whether the sandbox lets the daemon open it. Numbers: Linux, admin-guide/devices.txt.
DEVICES = {
    "ttyS0": ("c", 4, 64, True),
    "ttyUSB0": ("c", 188, 0, True),
    "ttyACM0": ("c", 166, 0, True),
    "usb-1": ("c", 189, 0, True),
    "disk": ("b", 8, 0, False),
    "loop": ("b", 7, 0, False),
    "hpet": ("c", 10, 228, False),
    "input": ("c", 13, 64, False),
}
# What the sandbox forbids and allows, tried from inside: prints one line of JSON, name -> error's name or "".
PROBE = """
import errno, json, os, socket
def tried(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return ""
def written(path):
    return lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
def family(number):
    return lambda: socket.socket(number, socket.SOCK_RAW if number != socket.AF_INET else socket.SOCK_STREAM).close()
found = {
    f"device {name}": tried(lambda: os.close(os.open(f"/dev/{name}", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)))
    for name in %(devices)r
}
found["write state"] = tried(written("/var/lib/reversald/probe"))
found["write run"] = tried(written("/run/reversald/probe"))
found["write etc"] = tried(written("/etc/reversald/probe"))
found["write usr"] = tried(written("/usr/lib/probe"))
found["write home"] = tried(written("/root/probe"))
found["connect"] = tried(lambda: socket.create_connection(%(host)r, 5).close())
found["netlink"] = tried(family(socket.AF_NETLINK))
found["packets"] = tried(family(socket.AF_PACKET))
found["other processes"] = "" if os.path.exists("/proc/1/status") else "ENOENT"
found["chown"] = tried(lambda: os.chown("/run/reversald/probe", -1, os.getgid()))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    archive(SYSTEMD)
    directory = tmp_path_factory.mktemp("packages")
    return built(directory, "0.1.0"), built(directory, "0.1.1")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, packages: tuple[Path, Path]) -> Iterator[list[Path]]:
    """The disk of a machine on which the package was installed."""
    directory = tmp_path_factory.mktemp("installed")
    clean = DebianRoot(directory / "clean", SYSTEMD)
    made = BootedDebian(directory / "machine", [clean.path])
    try:
        made.boot()
        assert "reversalctl provision" in made.install(packages[0]).stdout
        made.power_cut()
        yield [made.layer, clean.path]
    finally:
        made.close()
        clean.close()


@pytest.fixture
def machine(tmp_path: Path, installed: list[Path]) -> Iterator[BootedDebian]:
    """Booted, and the package installed."""
    made = BootedDebian(tmp_path / "machine", installed)
    try:
        made.boot()
        yield made
    finally:
        made.close()


@pytest.fixture
def host() -> Iterator[HostServer]:
    with HostServer(settings=HostSettings(mac_on_all_replies=True)) as server:
        yield server


@pytest.fixture
def serving(machine: BootedDebian, host: HostServer) -> BootedDebian:
    """Configured, started."""
    configure(machine, host)
    machine.systemctl("start", UNIT)
    return machine


def process(machine: BootedDebian, name: str) -> str:
    """A line of the daemon's /proc/PID/status or limits."""
    text = "".join(machine.file(f"/proc/{machine.pid()}/{file}").read_text() for file in ("status", "limits"))
    return re.search(rf"^{name}:?\s+(.*)$", text, re.MULTILINE)[1]  # type: ignore[index]


def kill(machine: BootedDebian, how: str) -> None:
    """To the daemon alone. By the shell: the command is no part of a small Debian."""
    machine.run("sh", "-c", f"kill -{how} {machine.pid()}")


# --- the service in its sandbox ---


def test_it_is_enabled_at_installation_and_says_at_a_boot_that_it_has_no_configuration(machine: BootedDebian) -> None:
    assert machine.systemctl("is-enabled", UNIT) == "enabled"
    assert (machine.shown("SubState"), machine.shown("ExecMainStatus")) == ("failed", "78")
    for place, mode in {"/etc/reversald": 0o750, STATE: 0o700, "/run/reversald": 0o755}.items():
        assert stat.S_IMODE(machine.file(place).stat().st_mode) == mode, place
    assert "dialout" in machine.run("id", "reversald").stdout
    assert machine.run("getent", "group", "reversald-settle").stdout


def test_a_start_ends_when_the_daemon_says_that_it_is_ready_and_it_has_no_rights(
    serving: BootedDebian, host: HostServer
) -> None:
    assert (serving.shown("Type"), serving.shown("ActiveState")) == ("notify", "active")
    assert answers(serving)
    assert int(process(serving, "Uid").split()[0]) != 0
    assert {process(serving, name) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (process(serving, "NoNewPrivs"), process(serving, "Seccomp")) == ("1", "2")
    assert process(serving, "Max core file size").split()[:2] == ["0", "0"]
    exposure = re.search(
        r"Overall exposure level.*: ([0-9.]+)", serving.run("systemd-analyze", "security", UNIT).stdout
    )
    assert exposure is not None
    assert float(exposure[1]) <= 1.5


def test_the_status_can_be_read_by_all_also_when_it_has_ended(serving: BootedDebian) -> None:
    assert serving.run(*NOBODY, "cat", STATUS).stdout.startswith("OK  S-OK")
    serving.systemctl("stop", UNIT)
    assert "THE AGENT WAS STOPPED" in serving.run(*NOBODY, "cat", STATUS).stdout


def test_devices_and_network_work_and_nothing_else(serving: BootedDebian, host: HostServer) -> None:
    """No driver of USB serial lines is loaded on most machines that run this: a device that comes later is meant."""
    for name, (kind, major, minor, _) in DEVICES.items():
        serving.run("mknod", "-m", "666", f"/dev/{name}", kind, str(major), str(minor))
    where, port = host.address.split(":")
    script = serving.file("/opt/probe.py")
    script.write_text(PROBE % {"devices": list(DEVICES), "host": (where, int(port))})
    text = serving.file(f"/lib/systemd/system/{UNIT}").read_text()
    text = re.sub(r"^(Exec|Watchdog|Notify|Restart).*\n", "", text, flags=re.MULTILINE)
    text = text.replace("Type=notify", "Type=oneshot\nExecStart=/usr/bin/python3 -I /opt/probe.py")
    serving.file("/run/systemd/system/probe.service").write_text(text)
    serving.systemctl("daemon-reload")
    serving.systemctl("start", "probe.service")
    told = serving.run("journalctl", "--output=cat", "--unit=probe.service", "--no-pager").stdout
    found = json.loads(next(line for line in told.splitlines() if line.startswith("{")))
    devices = {name: found.pop(f"device {name}") != "EPERM" for name in DEVICES}
    assert devices == {name: wanted for name, (_, _, _, wanted) in DEVICES.items()}
    free = {"write state", "write run", "connect", "netlink"}
    assert {name for name, error in found.items() if not error} == free, found


def test_the_tills_group_may_use_the_socket_and_strangers_may_not(serving: BootedDebian) -> None:
    """A group that the daemon is no member of: its service forbids to give files away."""
    serving.run("groupadd", "pos")
    serving.run("useradd", "--gid", "pos", "till")
    file = serving.file(CONFIGURATION)
    file.write_text(file.read_text().replace("[agent]\n", '[agent]\nsocket_group = "pos"\n'))
    serving.systemctl("restart", UNIT)
    ask = ("reversalctl", "--json", "list")
    till = ("setpriv", "--reuid", "till", "--regid", "pos", "--clear-groups")
    assert serving.run(*till, *ask).stdout.strip() == ""
    assert "C-NOT-ALLOWED" in serving.run(*NOBODY, *ask, check=False).stdout
    assert serving.run(*NOBODY, "reversalctl", "status").stdout.startswith("OK")
    assert "A-RIGHTS" in serving.run(*till, "reversalctl", "retry", "--all", check=False).stdout


BENCH = "/run/bench"
HWSIM = "import sys; sys.path[:0] = ['/opt/bench', '/usr/lib/pos-reversal-agent']; from hwsim.cli import main; main()"


def plug_in(machine: BootedDebian) -> None:
    """Reader with a card, PIN pad and printer on ptys of the machine. The package leaves out what only benches need."""
    shutil.copytree(Path(usbip.__file__).parent, machine.file("/opt/bench/usbip"))
    bench = ("/usr/bin/python3", "-I", "-c", HWSIM, "up", "--directory", BENCH, "--card", GOOD_CARD)
    machine.run("systemd-run", "--unit=bench", *bench)
    machine.until(lambda: machine.file(f"{BENCH}/control").exists(), "the devices are there")
    machine.file(BENCH).chmod(0o755)


def test_from_provisioning_to_a_card_sale_with_devices_in_the_sandbox(machine: BootedDebian) -> None:
    """Devices whose nodes are not for the daemon's user fail the trial, not the first night."""
    plug_in(machine)
    with pad_host() as host:
        answers = {
            **{"profile": "unionpay-pos", "terminal_id": "10000001", "merchant_id": "102110000000001"},
            **{"hosts": host.address, "mac": "pinpad", "merchant_name": "测试商店", "socket_group": "dialout"},
            **{"mac_key": encrypted_under(TEST_KEYS["master"], UNIONPAY_MAK_SINGLE.hex())},
            **{"mac_key_check": key_check_value(UNIONPAY_MAK_SINGLE)},
            **{"reader_port": f"serial:{BENCH}/reader?baud=115200&format=8N2"},
            **{"pinpad_port": f"serial:{BENCH}/pinpad?baud=19200&format=8N1"},
            **{"printer_port": f"serial:{BENCH}/printer?baud=38400&format=8N1", "printer_columns": "48"},
        }
        file = machine.file("/root/answers.toml")
        file.write_text("".join(f'{name} = "{value}"\n' for name, value in answers.items()))
        provision = ("reversalctl", "provision", "--answers", "/root/answers.toml")
        told = machine.run(*NOBODY, *provision, check=False).stdout
        assert "run this as root" in told
        assert "Traceback" not in told
        refused = machine.run(*provision, check=False)
        assert refused.returncode == 1, refused.stdout
        assert refused.stdout.count("  FAIL  ") == 4, "three devices, and the key that one of them holds"
        assert not machine.file(CONFIGURATION).exists()
        for name in ("reader", "pinpad", "printer"):
            machine.run("chgrp", "-L", "dialout", f"{BENCH}/{name}")
            machine.run("chmod", "660", f"{BENCH}/{name}")
        told = machine.run(*provision).stdout
        assert "  FAIL  " not in told
        made = machine.file(CONFIGURATION).stat()
        reversald = machine.file("/var/lib/reversald").stat().st_gid
        assert (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid) == (0o640, 0, reversald)
        machine.systemctl("start", UNIT)
        machine.until(lambda: machine.run("reversalctl", "devices", "test", check=False).returncode == 0, "all answer")
        assert sold(machine, {"reference": "R1", "amount_minor": 1250, "checkout": True})["outcome"] == "completed"
        assert (len(host.ledger.rows()), host.ledger.violations()) == (1, [])
        assert "测试商店" in machine.run("/usr/bin/python3", "-I", "-c", HWSIM, "slips", "--directory", BENCH).stdout


# --- life and death ---


def test_the_watchdog_leaves_a_daemon_that_works_alone_and_ends_one_that_hangs(
    machine: BootedDebian, host: HostServer
) -> None:
    configure(machine, host)
    machine.drop_in(f"WatchdogSec={WATCHDOG_S}")
    machine.systemctl("start", UNIT)
    began = time.monotonic()
    machine.until(
        lambda: int(machine.shown("WatchdogTimestampMonotonic")) / 1e6 > began + 3 * WATCHDOG_S,
        "it gives signs of life",
    )
    assert machine.shown("NRestarts") == "0"
    hanging = machine.pid()
    kill(machine, "STOP")
    machine.until(lambda: machine.shown("NRestarts") == "1" and answers(machine), "it was started again")
    assert machine.pid() != hanging
    assert "Watchdog timeout" in machine.log()


def test_a_wrong_configuration_fails_the_reload_and_is_not_tried_again_at_a_start(
    serving: BootedDebian, host: HostServer
) -> None:
    before = serving.pid()
    file = serving.file(CONFIGURATION)
    right = file.read_text()
    file.write_text(right + "nonsense = 1\n[agnet]\n")
    assert serving.run("systemctl", "reload", UNIT, check=False).returncode != 0
    assert (serving.pid(), answers(serving)) == (before, True)
    assert serving.run("systemctl", "restart", UNIT, check=False).returncode != 0
    shown = {name: serving.shown(name) for name in ("SubState", "ExecMainStatus", "NRestarts")}
    assert shown == {"SubState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    for error in ("nonsense", "agnet"):
        assert serving.log().count(error) >= 2, "every error is told, at the reload and at the start"
    file.write_text(right)
    serving.systemctl("start", UNIT)
    file.write_text(right.replace('language = "en"', 'language = "zh"'))
    serving.systemctl("reload", UNIT)
    assert "configuration reloaded" in serving.log()


def test_a_check_before_the_start_would_be_tried_again_for_ever(machine: BootedDebian) -> None:
    """Why the service has none: systemd asks the main process alone whether a restart makes sense."""
    machine.drop_in(f"ExecStartPre=/usr/bin/reversald --check-config --config {CONFIGURATION}")
    machine.systemctl("reset-failed", UNIT)
    assert machine.run("systemctl", "start", UNIT, check=False).returncode != 0
    machine.until(lambda: int(machine.shown("NRestarts")) > 1, "it goes on")


def test_a_change_that_is_unsafe_now_fails_the_reload(serving: BootedDebian, host: HostServer) -> None:
    owe(serving, host)
    file = serving.file(CONFIGURATION)
    file.write_text(file.read_text().replace("10000001", "10000002"))
    refused = serving.run("systemctl", "reload", UNIT, check=False)
    assert refused.returncode != 0
    assert "C-REFUSED" in serving.log()
    assert (serving.shown("ActiveState"), answers(serving)) == ("active", True)


def test_a_key_that_is_not_there_is_waited_for(serving: BootedDebian) -> None:
    """Not a mistake of the configuration: the medium may come back."""
    serving.systemctl("stop", UNIT)
    key = serving.file(f"{STATE}/data.key")
    key.rename(key.with_name("away"))
    serving.run("systemctl", "start", UNIT, check=False)
    serving.until(lambda: int(serving.shown("NRestarts")) > 1, "it is tried again")
    key.with_name("away").rename(key)
    serving.until(lambda: answers(serving), "it runs as soon as the key is back")


def test_killed_it_comes_back_and_the_reversal_is_with_the_host_within_two_seconds(
    serving: BootedDebian, host: HostServer
) -> None:
    owe(serving, host)
    kill(serving, "KILL")
    before = host.ledger.rows()[0].reversals
    host.faults.clear()
    host.wait_for(lambda ledger: ledger.rows()[0].reversals > before)
    arrived_s = time.monotonic()
    serving.until(lambda: serving.shown("ActiveState") == "active" and not items(serving), "nothing is open any more")
    started_s = int(serving.shown("ExecMainStartTimestampMonotonic")) / 1e6
    assert 0 < arrived_s - started_s < FIRST_REVERSAL_S
    assert serving.shown("NRestarts") == "1"
    assert host.ledger.violations() == []


def test_after_a_power_cut_it_starts_with_the_machine_and_sends(serving: BootedDebian, host: HostServer) -> None:
    owe(serving, host)
    owed = items(serving)[0]["id"]
    serving.power_cut()
    host.faults.clear()
    serving.boot()
    serving.until(lambda: answers(serving) and not items(serving), "nothing is open any more")
    assert f"{owed} sale R1: reversed" in serving.log()
    assert (host.ledger.rows()[0].effects, host.ledger.violations()) == (1, [])


# --- maintainer scripts ---


def test_an_upgrade_hands_what_is_pending_to_the_new_daemon(
    serving: BootedDebian, host: HostServer, packages: tuple[Path, Path]
) -> None:
    owe(serving, host)
    owed, before = items(serving)[0], serving.pid()
    told = serving.install(packages[1]).stdout
    assert state_of_package(serving) == "ii  0.1.1", told
    assert serving.shown("ActiveState") == "active"
    assert serving.pid() != before
    assert "stopping" in serving.log()
    assert {name: items(serving)[0][name] for name in ("id", "stan")} == {name: owed[name] for name in ("id", "stan")}
    host.faults.clear()
    serving.until(lambda: not items(serving), "the reversal is acknowledged")
    assert host.ledger.violations() == []


def test_a_daemon_that_the_package_may_not_stop_is_neither_upgraded_nor_removed(
    serving: BootedDebian, packages: tuple[Path, Path]
) -> None:
    serving.file("/usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    tried = [serving.install(packages[1], check=False), serving.run("dpkg", "--remove", PACKAGE, check=False)]
    for refused in tried:
        assert refused.returncode != 0
        assert "the agent still runs: stop it first" in refused.stdout
    assert state_of_package(serving)[1:] == "i  0.1.0"
    assert answers(serving)


def test_while_it_owes_it_is_not_removed_and_afterwards_without_a_trace(
    serving: BootedDebian, host: HostServer, packages: tuple[Path, Path]
) -> None:
    owe(serving, host)
    owed, before = str(items(serving)[0]["id"]), serving.pid()
    for how in ("--remove", "--purge"):
        refused = serving.run("dpkg", how, PACKAGE, check=False)
        assert refused.returncode != 0
        assert owed in refused.stdout
    assert (serving.pid(), answers(serving)) == (before, True), "the refusal costs no sale"
    serving.systemctl("stop", UNIT)
    assert serving.run("dpkg", "--remove", PACKAGE, check=False).returncode != 0
    serving.until(lambda: serving.shown("ActiveState") == "active", "whom nobody removed is started again")
    host.faults.clear()
    serving.until(lambda: answers(serving) and not items(serving), "the reversal is acknowledged")
    serving.run("dpkg", "--remove", PACKAGE)
    assert serving.systemctl("is-enabled", UNIT, check=False) == "masked"
    serving.install(packages[1])
    assert (serving.systemctl("is-enabled", UNIT), answers(serving)) == ("enabled", True)
    serving.run("dpkg", "--purge", PACKAGE)
    assert serving.shown("LoadState") == "not-found", (
        "a mask left behind would keep the next installation from starting"
    )
    left = serving.run("find", "/etc/systemd", "/var/lib/systemd", "/etc/rc2.d", "-name", "*reversald*").stdout
    assert left == ""
    for place in (STATE, "/etc/reversald", "/run/reversald"):
        assert not serving.file(place).exists(), place
