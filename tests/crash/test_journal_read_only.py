"""The file system turns read-only under the running daemon, as ext4 does after an error of its disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.agent_process import DemoError
from hwsim.host import HostServer
from hwsim.host.settings import HostSettings
from tests.agent_bench import AgentBench, agree

pytestmark = pytest.mark.slow


@pytest.fixture
def host() -> Iterator[HostServer]:
    """A host that authenticates every reply."""
    with HostServer(settings=HostSettings(mac_on_all_replies=True)) as server:
        yield server


class Medium:
    """A small ext4 of its own, in a file; `errors=remount-ro` as on the terminals."""

    def __init__(self, directory: Path) -> None:
        self.image = directory / "disk.img"
        self.place = directory / "state"
        self.place.mkdir(mode=0o700)
        with self.image.open("wb") as file:
            file.truncate(96 << 20)
        _must("mkfs.ext4", "-q", "-F", self.image)

    def mount(self) -> None:
        """The daemon's state directory lies on it from now on."""
        _must("mount", "-o", "loop,errors=remount-ro", self.image, self.place)
        self.place.chmod(0o700)

    def fails(self) -> None:
        """What an I/O error of its metadata does: the kernel makes it read-only, whoever has files open."""
        source = _must("findmnt", "-n", "-o", "SOURCE", self.place).strip()
        Path("/sys/fs/ext4", Path(source).name, "trigger_fs_error").write_text("made by a test")
        with pytest.raises(OSError, match="Read-only"):
            (self.place / "probe").touch()

    def mend(self) -> None:
        """As an engineer does: unmount, check, mount."""
        self.leave()
        done = subprocess.run(["e2fsck", "-f", "-y", self.image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode in (0, 1), done.stdout
        self.mount()

    def leave(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", self.place], check=True)


def _must(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        pytest.skip(f"{command[0]} is not possible here: {done.stdout.strip()}")
    return done.stdout


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Medium]:
    """Skipped where nobody may mount."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system; to run it: sudo make test")
    for tool in ("mkfs.ext4", "e2fsck", "mount", "findmnt"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    made = Medium(tmp_path)
    made.mount()
    if not list(Path("/sys/fs/ext4").glob("*/trigger_fs_error")):
        made.leave()
        pytest.skip("this kernel cannot be asked for a file system error")
    yield made
    subprocess.run(["umount", "-l", made.place], stderr=subprocess.DEVNULL)


def test_on_a_read_only_disk_no_sale_starts_what_is_owed_is_shown_and_nothing_is_lost(
    tmp_path: Path, host: HostServer, medium: Medium
) -> None:
    with AgentBench(tmp_path, [host.address], confirm="on-approval") as bench:
        bench.agent.start()
        bench.sale("GOOD", 1000)
        host.faults.add("0200", "drop-reply")
        host.faults.add("reversal", "drop-reply", count=None)
        bench.sale("OWED", 2000)
        bench.until(lambda: bench.state_of("OWED") == "reversing", "the sale is reversed")
        item = bench.agent.call("reversal.list", {"all": False, "limit": 5})["items"][0]["id"]
        bench.agent.call("reversal.hold", {"id": item, "why": "its tries would need the disk"})
        bench.until(lambda: not bench.agent.call("reversal.show", {"id": item})["trying_now"], "no try is under way")

        medium.fails()
        heard = len(host.ledger.rows())
        with pytest.raises(DemoError, match="read-only"):
            bench.sale("NEW", 3000)
        assert len(host.ledger.rows()) == heard
        assert bench.agent.call("reversal.list", {"all": False, "limit": 5})["items"][0]["id"] == item
        assert bench.state_of("GOOD") == "completed"

        with pytest.raises(DemoError, match="hung up"):
            bench.agent.call("reversal.release", {"id": item})
        assert bench.agent.wait() != 0, "a write that fails ends the process: its outcome is unknown"
        assert "E-JOURNAL-FAILED" in bench.log()
        bench.agent.spawn()
        assert bench.agent.wait() != 0, "and it does not start on a disk that takes nothing"
        assert "E-JOURNAL-IO" in bench.log()

        medium.mend()
        host.faults.clear()
        bench.agent.start()
        items = bench.agent.call("reversal.list", {"all": False, "limit": 5})["items"]
        if items and items[0]["held"]:
            bench.agent.call("reversal.release", {"id": item})
        bench.until(lambda: bench.state_of("OWED") == "reversed", "the host acknowledges it")
        agree(host, bench)
