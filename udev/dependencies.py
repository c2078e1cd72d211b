"""What a release depends on: pyproject.toml, Debian's names for it, the lock file's entries. Read by the builders."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
LOCK = HERE / "requirements.lock"
# The kernel's names of machines, and Debian's: 32-bit boards with hard floats, 64-bit boards, PCs.
MACHINES = {"armv7l": "armhf", "aarch64": "arm64", "x86_64": "amd64"}
# Our dependency: Debian's package. Versions in Debian 12: serial 3.5, usb 1.2.1, construct 2.10.68, crcmod 1.7,
# cryptography 38.0.4, pyudev 0.24.0. pyiso8583 is not in Debian.
DISTRIBUTION = {
    "pyserial": "python3-serial",
    "pyusb": "python3-usb",
    "construct": "python3-construct",
    "crcmod": "python3-crcmod",
    "cryptography": "python3-cryptography",
    "pyudev": "python3-pyudev",
}
_REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)")
_ENTRY = re.compile(r"^# (?P<machines>[^\n]+)\n(?P<name>[A-Za-z0-9_.-]+)==(?P<version>[^ \\]+)(?P<hashes>[^#]*)", re.M)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class DependencyError(RuntimeError):
    """A dependency that no board could install; the text says which."""


class Pinned(NamedTuple):
    """One dependency of a release. `machines`: those of MACHINES with a wheel, or "any", or "source"."""

    name: str
    version: str
    hashes: tuple[str, ...]
    machines: tuple[str, ...]


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def release() -> str:
    """The version of the sources."""
    found = re.search(r'^VERSION = "([^"]+)"', (ROOT / "agent/__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found.group(1)


def plan(table: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Depends, Recommends and what is shipped along, from pyproject.toml. Raises DependencyError."""
    depends, shipped = _split(table["project"]["dependencies"])
    recommends, more = _split(table["project"]["optional-dependencies"]["hotplug"])
    return depends, recommends, [*shipped, *more]


def _split(requirements: Iterable[str]) -> tuple[list[str], list[str]]:
    packaged, shipped = [], []
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        if found is None:
            raise DependencyError(f"{requirement!r} has no lower bound: a package needs one")
        name, version = found.groups()
        if name in DISTRIBUTION:
            packaged.append(f"{DISTRIBUTION[name]} (>= {version})")
        else:
            shipped.append(name)
    return packaged, shipped


def runtime(project: dict[str, Any]) -> list[str]:
    """What a shop installs: the dependencies, and hot-plug."""
    return [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["hotplug"]]


def read_lock(text: str) -> list[Pinned]:
    """The entries of a lock file."""
    return [
        Pinned(
            found["name"],
            found["version"],
            tuple(_HASH.findall(found["hashes"])),
            tuple(found["machines"].split(", ")),
        )
        for found in _ENTRY.finditer(text)
    ]
