"""The package in a clean Debian root: installed offline, upgraded while it owes, not removed while it owes, purged."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.host import HostServer
from tests.debian_root import DebianRoot, archive
from tests.installed_agent import (
    OVERRIDE,
    PACKAGE,
    REASON,
    STATE,
    answers,
    built,
    configure,
    items,
    owe,
    state_of_package,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    archive()
    directory = tmp_path_factory.mktemp("packages")
    return built(directory, "0.1.0"), built(directory, "0.1.1")


@pytest.fixture
def root(tmp_path: Path, packages: tuple[Path, Path]) -> Iterator[DebianRoot]:
    clean = DebianRoot(tmp_path / "root")
    yield clean
    clean.close()


def started(root: DebianRoot, host: HostServer, package: Path) -> None:
    """Installed, configured, running."""
    root.install(package)
    configure(root, host)
    root.run("/etc/init.d/reversald", "start")
    root.until(lambda: answers(root), "the daemon answers")


def test_the_same_sources_give_the_same_package(packages: tuple[Path, Path], tmp_path: Path) -> None:
    assert built(tmp_path, "0.1.0").read_bytes() == packages[0].read_bytes()


def test_it_installs_offline_with_its_users_rights_and_programs(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    told = root.install(packages[0]).stdout
    assert "reversalctl provision" in told
    assert state_of_package(root) == "ii  0.1.0"
    assert "reversalctl 0.1.0" in root.run("reversalctl", "version").stdout
    for place, mode in {"/etc/reversald": 0o750, STATE: 0o700, "/run/reversald": 0o755}.items():
        assert stat.S_IMODE(root.file(place).stat().st_mode) == mode, place
    assert "dialout" in root.run("id", "reversald").stdout
    assert list(root.file("/usr/lib/pos-reversal-agent/agent/__pycache__").glob("daemon.*.pyc"))
    assert "E-CONFIG" in root.run("reversald", "--check-config", check=False).stdout
    root.run("reversald", "--check-config", "--config", "/etc/reversald/reversald.toml.example")
    assert root.run("dpkg", "--verify", PACKAGE).stdout == ""
    assert root.run("bash", "-n", "/usr/share/bash-completion/completions/reversalctl").returncode == 0
    configure(root, host)
    root.run("/etc/init.d/reversald", "start")
    root.until(lambda: answers(root), "the daemon answers")
    root.run("/etc/init.d/reversald", "reload")
    file = root.file("/etc/reversald/reversald.toml")
    file.write_text(file.read_text() + "nonsense = 1\n")
    assert "nonsense" in root.run("/etc/init.d/reversald", "reload", check=False).stdout
    assert root.run("/etc/init.d/reversald", "reload", check=False).returncode != 0
    pid = root.file("/run/reversald.pid").read_text().strip()
    assert Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] != "0"


def test_nothing_pending_removes_and_purges_without_a_trace(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    started(root, host, packages[0])
    root.run("dpkg", "--remove", PACKAGE)
    assert root.file(f"{STATE}/journal.db").exists()
    assert root.file("/etc/reversald/reversald.toml").exists()
    assert not root.file("/usr/lib/pos-reversal-agent").exists()
    root.run("dpkg", "--purge", PACKAGE)
    for place in (STATE, "/etc/reversald", "/run/reversald", "/etc/init.d/reversald", "/usr/share/doc/" + PACKAGE):
        assert not root.file(place).exists(), place


def test_an_upgrade_stops_the_agent_and_what_is_pending_is_sent_by_the_new_one(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    started(root, host, packages[0])
    owe(root, host)
    before = items(root)[0]
    pid = root.file("/run/reversald.pid").read_text()
    told = root.install(packages[1]).stdout
    assert state_of_package(root) == "ii  0.1.1", told
    assert root.file("/run/reversald.pid").read_text() != pid
    assert "stopping" in root.log()
    root.until(lambda: answers(root), "the new daemon answers")
    after = items(root)[0]
    assert {name: after[name] for name in ("id", "stan", "amount")} == {
        name: before[name] for name in ("id", "stan", "amount")
    }
    host.faults.clear()
    root.until(lambda: not items(root), "the reversal is acknowledged")
    root.run("/etc/init.d/reversald", "stop")
    assert "whole: nothing is missing" in root.run("reversalctl", "verify").stdout
    assert "1 reversed" in root.run("reversalctl", "verify").stdout


def test_a_daemon_that_the_package_may_not_stop_is_neither_upgraded_nor_removed(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    started(root, host, packages[0])
    root.policy.unlink()
    for command in (["--install", f"/tmp/{packages[0].name}"], ["--remove", PACKAGE]):
        refused = root.run("dpkg", *command, check=False)
        assert refused.returncode != 0
        assert "the agent still runs: stop it first" in refused.stdout
        assert state_of_package(root)[1] == "i"
    assert answers(root)


def test_while_something_is_pending_neither_a_living_nor_a_dead_agent_can_be_removed(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    started(root, host, packages[0])
    owe(root, host)
    owed = str(items(root)[0]["id"])
    for how in ("--remove", "--purge"):
        refused = root.run("dpkg", how, PACKAGE, check=False)
        assert refused.returncode != 0
        assert owed in refused.stdout
        assert "1 items are pending" in refused.stdout
        assert "还有 1 笔未完成" in refused.stdout
        assert state_of_package(root)[1] == "i"
    root.until(lambda: answers(root), "the refusal left the agent running")
    root.run("/etc/init.d/reversald", "stop")
    dead = root.run("dpkg", "--purge", PACKAGE, check=False)
    assert dead.returncode != 0
    assert owed in dead.stdout
    assert root.file(f"{STATE}/journal.db").exists()
    host.faults.clear()
    root.until(lambda: answers(root) and not items(root), "the agent was started again and sends")
    root.run("dpkg", "--purge", PACKAGE)


def test_what_cannot_be_read_is_not_taken_for_empty(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    started(root, host, packages[0])
    owe(root, host)
    root.run("/etc/init.d/reversald", "stop")
    key = root.file(f"{STATE}/data.key")
    kept = key.read_bytes()
    key.unlink()
    refused = root.run("dpkg", "--remove", PACKAGE, check=False)
    assert refused.returncode != 0
    assert "nobody can say what is pending" in refused.stdout
    key.write_bytes(kept)
    key.chmod(0o600)
    root.file("/etc/reversald/reversald.toml").write_text("[agent\n")
    assert root.run("dpkg", "--remove", PACKAGE, check=False).returncode != 0


def test_a_wrapping_key_that_is_out_of_reach_neither_hides_what_is_pending_nor_keeps_the_package_for_ever(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    """As with a credential, which is gone when the service has stopped."""
    root.install(packages[0])
    configure(root, host)
    medium, away = root.file("/media/wrapping.key"), root.file("/media/taken-out")
    medium.write_bytes(bytes(range(32)))
    medium.chmod(0o600)
    root.run("chown", "reversald:reversald", "/media/wrapping.key")
    with root.file("/etc/reversald/reversald.toml").open("a") as configuration:
        configuration.write('\n[[keys.wrapping]]\nkey_file = "/media/wrapping.key"\n')
    root.run("/etc/init.d/reversald", "start")
    root.until(lambda: answers(root), "the daemon answers")
    owe(root, host)
    owed = str(items(root)[0]["id"])
    root.run("/etc/init.d/reversald", "stop")
    medium.rename(away)
    refused = root.run("dpkg", "--remove", PACKAGE, check=False)
    assert refused.returncode != 0
    assert f"  {owed}  main  CNY 12.50" in refused.stdout
    away.rename(medium)
    host.faults.clear()
    root.run("/etc/init.d/reversald", "start", check=False)
    root.until(lambda: answers(root) and not items(root), "what is owed is acknowledged")
    medium.rename(away)
    root.run("dpkg", "--purge", PACKAGE)
    assert not root.file(STATE).exists()


def test_an_override_is_recorded_and_the_journal_outlives_even_the_purge(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    started(root, host, packages[0])
    owe(root, host)
    owed = str(items(root)[0]["id"])
    root.file(OVERRIDE).write_text("short\n")
    assert root.run("dpkg", "--remove", PACKAGE, check=False).returncode != 0
    root.file(OVERRIDE).write_text(REASON + "\n")
    root.run("dpkg", "--remove", PACKAGE)
    entries = [json.loads(line) for line in root.file(f"{STATE}/maintenance.jsonl").read_text().splitlines()]
    assert len(entries) == 1
    assert REASON in entries[0]["text"]
    assert owed in entries[0]["text"]
    root.file(OVERRIDE).unlink()
    refused = root.run("dpkg", "--purge", PACKAGE, check=False)
    assert refused.returncode != 0
    assert "were pending" in refused.stdout
    assert root.file(f"{STATE}/journal.db").exists()
    told = root.run("dpkg", "--purge", PACKAGE, env={"REVERSALD_REMOVE_ALTHOUGH_PENDING": REASON}).stdout
    (aside,) = root.file("/var/backups").glob(f"{PACKAGE}-*")
    assert f"/var/backups/{aside.name}" in told
    assert (aside / "state/journal.db").exists()
    assert (aside / "state/data.key").exists()
    assert REASON in (aside / "WHY").read_text()
    assert stat.S_IMODE(aside.stat().st_mode) == 0o700


def test_the_key_of_a_journal_elsewhere_outlives_the_purge(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    root.install(packages[0])
    configure(root, host)
    configuration = root.file("/etc/reversald/reversald.toml")
    text = configuration.read_text().replace(f'state_dir = "{STATE}"', 'state_dir = "/srv/agent"')
    configuration.write_text(text + '\n[keys]\ndata_key_file = "/var/lib/reversald/data.key"\n')
    root.run("install", "-d", "-m", "0700", "-o", "reversald", "-g", "reversald", "/srv/agent")
    root.run("/etc/init.d/reversald", "start")
    root.until(lambda: answers(root), "the daemon answers")
    owe(root, host)
    assert root.run("dpkg", "--remove", PACKAGE, check=False).returncode != 0
    root.run("dpkg", "--remove", PACKAGE, env={"REVERSALD_REMOVE_ALTHOUGH_PENDING": REASON})
    assert root.run("dpkg", "--purge", PACKAGE, check=False).returncode != 0
    root.run("dpkg", "--purge", PACKAGE, env={"REVERSALD_REMOVE_ALTHOUGH_PENDING": REASON})
    (aside,) = root.file("/var/backups").glob(f"{PACKAGE}-*")
    assert (aside / "state/data.key").exists()
    assert (aside / "configuration/reversald.toml").exists()
    assert root.file("/srv/agent/journal.db").exists()


def test_a_removed_agent_that_owes_can_be_installed_again_and_sends(
    root: DebianRoot, packages: tuple[Path, Path], host: HostServer
) -> None:
    started(root, host, packages[0])
    owe(root, host)
    root.run("dpkg", "--remove", PACKAGE, env={"REVERSALD_REMOVE_ALTHOUGH_PENDING": REASON})
    host.faults.clear()
    root.install(packages[1])
    root.until(lambda: answers(root) and not items(root), "it sends what it owed")
    assert not root.file(f"{STATE}/.nothing-was-pending").exists()
