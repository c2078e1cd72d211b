"""A clean Debian root to install packages in: made by debootstrap once, unpacked anew for each test.

The mirror and the release are those of this machine's own package sources; no mirror is named here. Nothing is mounted:
a container without that right will do. `build/` keeps the tree as an archive, so that only the first run downloads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What the package depends on and recommends, so that it installs without any network. debootstrap does not resolve
# virtual packages: cryptography needs cffi-backend named.
_PYTHON = ("serial", "usb", "construct", "crcmod", "cryptography", "cffi-backend", "pyudev")
INCLUDED = ("python3", *(f"python3-{name}" for name in _PYTHON))
# What a machine with systemd has besides.
SYSTEMD = ("systemd", "systemd-sysv")
DEADLINE_S = 60.0
MAKE_DEADLINE_S = 900.0


def archive(more: Sequence[str] = ()) -> Path:
    """The clean root as a tar file, `more`: packages that it holds besides. Skips the test where none can be made."""
    if os.getuid() != 0:
        pytest.skip("a clean Debian root needs root: sudo make test")
    for command in ("debootstrap", "dpkg-deb", "apt-get", "chroot"):
        if shutil.which(command) is None:
            pytest.skip(f"no {command} here: apt-get install debootstrap dpkg")
    mirror, release = source()
    target = ROOT / "build" / f"{'-'.join(('root', release, *more))}.tar"
    if not target.exists():
        _make(mirror, release, target, (*INCLUDED, *more))
    return target


def source() -> tuple[str, str]:
    """Mirror and release of this machine's own sources."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    own = _release()
    for line in lines:
        uri, _, rest = line.partition(" ")
        if rest == f"{own} main":
            return uri, own
    pytest.skip(f"the package sources of this machine name no Debian release {own!r}")


def _release() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text().splitlines():
            if line.startswith("VERSION_CODENAME="):
                return line.partition("=")[2].strip('"')
    pytest.skip("/etc/os-release names no release")


def _make(mirror: str, release: str, target: Path, packages: Sequence[str]) -> None:
    tree = target.with_suffix(".making")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", release, str(tree), mirror]
    with target.with_suffix(".log").open("wb") as log:
        done = subprocess.run(command, stdout=log, stderr=log, timeout=MAKE_DEADLINE_S, check=False)
    subprocess.run(["umount", "-l", str(tree / "proc"), str(tree / "sys")], capture_output=True, check=False)
    if done.returncode:
        told = target.with_suffix(".log").read_text(errors="replace").splitlines()[-3:]
        pytest.skip(f"debootstrap fails here: {' / '.join(told)}")
    for left in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/locale", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(tree / left, ignore_errors=True)
    draft = target.with_suffix(".part")
    packed = ["tar", "--one-file-system", "-C", str(tree), "-cf", str(draft), "."]
    subprocess.run(packed, check=True, capture_output=True)
    draft.rename(target)
    shutil.rmtree(tree)


class Inside:
    """A Debian tree in which commands are run; `path`: where it lies."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prefix(self) -> list[str]:
        """What stands before a command that is to run inside."""
        return ["chroot", str(self.path)]

    def file(self, path: str) -> Path:
        """A file of it."""
        return self.path / path.lstrip("/")

    def log(self) -> str:
        """What the daemon said, where the init script started it."""
        log = self.file("/var/log/reversald.log")
        return log.read_text(errors="replace") if log.exists() else ""

    def run(
        self, *command: str, check: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command inside; both its outputs as `stdout`."""
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **(env or {}),
        }
        done = subprocess.run(
            [*self.prefix(), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
            timeout=DEADLINE_S * 2,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{self.log()}")
        return done

    def install(self, package: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """dpkg --install, without any network."""
        shutil.copy(package, self.file(f"/tmp/{package.name}"))
        return self.run("dpkg", "--install", f"/tmp/{package.name}", check=check)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Waits for a condition."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, f"{what}\n{self.log()}"
            time.sleep(0.05)


class DebianRoot(Inside):
    """A clean root; `close` ends what was started in it. `more`: packages that it holds besides."""

    def __init__(self, directory: Path, more: Sequence[str] = ()) -> None:
        super().__init__(directory)
        directory.mkdir()
        subprocess.run(["tar", "-C", str(directory), "-xpf", str(archive(more))], check=True, capture_output=True)
        # As on a machine with an init system: init scripts may be run.
        self.policy = self.file("/usr/sbin/policy-rc.d")
        self.policy.write_text("#!/bin/sh\nexit 0\n")
        self.policy.chmod(0o755)

    def close(self) -> None:
        """Ends the daemon, if its pid file names one that runs in this root; removes the tree."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.file("/run/reversald.pid").read_text())
            if os.readlink(f"/proc/{pid}/root") == str(self.path):
                os.kill(pid, 9)
        shutil.rmtree(self.path, ignore_errors=True)
