"""A Debian root that is booted: Debian's own systemd as process 1, under this machine's kernel.

    its own: processes, mounts, control groups, host name        this machine's: network, so that simulated hosts answer

No virtual machine and no kernel module: namespaces, with the tools of util-linux. Its disk is a layer over trees that
it does not change. What is not the guest's to change is read-only (/sys, /proc/sys), so udev does not run in it; timers
and logins are left out.
Source: systemd's Container Interface (systemd.io/CONTAINER_INTERFACE).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.debian_root import DEADLINE_S, Inside

UNIT = "reversald.service"
STARTED_S = 60.0
# Rights over the machine as a whole: guest and host have one kernel, one clock, one log.
_DROPPED = "-sys_module,-sys_time,-sys_rawio,-sys_boot,-syslog,-audit_control,-audit_read,-audit_write"
_MASKED = ("timers.target", "getty.target", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service")

# $1 a directory for the control groups, $2 their name; then the guest's script and its arguments. The groups go when
# the guest has ended: whoever mounted them cannot see them afterwards.
_OUTER = """
set -e
groups=$1 name=$2
shift 2
mount -t cgroup2 cgroup2 "$groups"
mkdir "$groups/$name"
sh -c 'echo $$ > "$1"; shift; exec "$@"' sh "$groups/$name/cgroup.procs" setpriv --pdeathsig KILL \
    unshare --pid --cgroup --uts --ipc --mount --propagation private --fork --kill-child sh -c "$@" || true
find "$groups/$name" -depth -type d -exec rmdir {} +
"""
# $1 the root, $2 how its layers are mounted, $3 where process 1 leaves its number, $4 the rights that it drops. Before
# /proc is the guest's own, it shows the number by which the host knows this process.
_INNER = """
set -e
root=$1
read -r pid rest </proc/self/stat
mount -t overlay -o "$2" overlay "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
echo "$pid" >"$3"
exec setpriv --bounding-set "$4" chroot "$root" \
    env -i container=reversald-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=multi-user.target --show-status=false
"""


class BootedDebian(Inside):
    """`boot` starts it, `power_cut` ends it as a power cut would.

    `directory` gets its disk: what it writes over `below`, trees of which the first lies on top, is in `layer`.
    """

    def __init__(self, directory: Path, below: Sequence[Path]) -> None:
        for command in ("unshare", "nsenter", "setpriv"):
            if shutil.which(command) is None:
                pytest.skip(f"no {command} here: apt-get install util-linux")
        super().__init__(directory / "root")
        self.layer = directory / "layer"
        self._directory = directory
        self._below = below
        self._process: subprocess.Popen[bytes] | None = None
        self.init_pid = 0
        for path in (self.path, self.layer, directory / "work", directory / "cgroup"):
            path.mkdir(parents=True)
        units = self.layer / "etc/systemd/system"
        units.mkdir(parents=True)
        for unit in _MASKED:
            (units / unit).symlink_to("/dev/null")

    # --- life ----------------------------------------------------------------------------------

    def boot(self) -> None:
        """Until everything has started. Skips the test where this machine does not allow it."""
        number, told = self._directory / "pid", self._directory / "console"
        number.unlink(missing_ok=True)
        layers = f"lowerdir={':'.join(map(str, self._below))},upperdir={self.layer},workdir={self._directory / 'work'}"
        outer = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "sh", "-c", _OUTER]
        outer += ["sh", str(self._directory / "cgroup"), f"reversald-test-{os.getpid()}-{time.monotonic_ns()}"]
        inner = [_INNER, "sh", str(self.path), layers, str(number), _DROPPED]
        with told.open("wb") as console:
            self._process = subprocess.Popen([*outer, *inner], stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        deadline = time.monotonic() + STARTED_S
        while not (number.exists() and number.read_text().endswith("\n")):
            if self._process.poll() is not None:
                pytest.skip(f"no systemd can be booted here (all of root's rights are needed): {told.read_text()}")
            assert time.monotonic() < deadline, told.read_text()
            time.sleep(0.02)
        self.init_pid = int(number.read_text())
        self.until(self._is_up, "systemd is up")

    def _is_up(self) -> bool:
        """Without a configuration our own service has failed; everything else must run."""
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "console").read_text()
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        if state == "degraded":
            failed = self.systemctl("list-units", "--failed", "--plain", "--no-legend").splitlines()
            assert [line.split()[0] for line in failed] == [UNIT]
        return state in ("running", "degraded")

    def power_cut(self) -> None:
        """Nothing in it has a chance to do anything any more; its disk stays."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init_pid, signal.SIGKILL)
        self._process.wait(DEADLINE_S)
        self._process = None

    def close(self) -> None:
        """Ends it, and removes its disk."""
        self.power_cut()
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- inside --------------------------------------------------------------------------------

    def prefix(self) -> list[str]:
        """By the namespaces of its process 1."""
        root = f"/proc/{self.init_pid}/root"
        spaces = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
        return ["nsenter", "--target", str(self.init_pid), *spaces, f"--root={root}", f"--wd={root}"]

    def file(self, path: str) -> Path:
        """A file as it sees it, while it is booted."""
        return Path(f"/proc/{self.init_pid}/root") / path.lstrip("/")

    def log(self) -> str:
        """What the daemon said, and systemd about it."""
        return self.run("journalctl", "--no-pager", "--output=short-precise", f"--unit={UNIT}", check=False).stdout

    # --- the service ---------------------------------------------------------------------------

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """What `systemctl` says."""
        return self.run("systemctl", "--no-pager", *arguments, check=check).stdout.strip()

    def shown(self, name: str) -> str:
        """A property of the service."""
        return self.systemctl("show", f"--property={name}", "--value", UNIT)

    def pid(self) -> int:
        """The daemon's number inside; 0 while it does not run."""
        return int(self.shown("MainPID"))

    def drop_in(self, lines: str) -> None:
        """Changes the service as `systemctl edit` does, until the next boot."""
        directory = self.file(f"/run/systemd/system/{UNIT}.d")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "test.conf").write_text(f"[Service]\n{lines}\n")
        self.systemctl("daemon-reload")
