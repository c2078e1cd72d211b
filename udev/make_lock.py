"""Writes udev/requirements.lock: every dependency of a release, pinned, with the hash of each file that may
be installed.

    python udev/make_lock.py            prints it
    python udev/make_lock.py --write    writes it beside this file (asks the package index; a release does this once)

Installed by hand: pip install --require-hashes --no-deps -r udev/requirements.lock

Rules not to break:
1. No name of an index or its hosts: where files come from is the machine's own setting, what they are is the hash.
2. A dependency without a wheel that fits every machine of MACHINES must be a Debian package there (DISTRIBUTION in
   udev/dependencies.py); docs/deployment.md shows which is which.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from dependencies import LOCK, MACHINES, Pinned, project, runtime

PYTHON = "3.11"
# The C library of Debian 12 is 2.36: wheels made for it or for an older one run.
GLIBC_MINORS = (36, 35, 34, 33, 32, 31, 28, 27, 26, 24, 17, 12, 5)

HEAD = """\
# Every dependency of a release with the hashes of the files that may be installed. Written by
# udev/make_lock.py --write: do not edit. To install: pip install --require-hashes --no-deps -r udev/requirements.lock
# Above a package: the machines for which there is a wheel; "any" is pure Python; "source": built where there is none.
"""


def write_lock(pinned: Sequence[Pinned]) -> str:
    """The whole file."""
    blocks = [
        f"# {', '.join(one.machines)}\n{one.name}=={one.version}"
        + "".join(f" \\\n    --hash=sha256:{value}" for value in one.hashes)
        for one in pinned
    ]
    return HEAD + "\n" + "\n".join(blocks) + "\n"


# --- asking the index --------------------------------------------------------------------------


def _report(*arguments: str) -> list[dict[str, Any]]:
    """What pip would install; nothing where it finds nothing."""
    with tempfile.TemporaryDirectory() as target:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--ignore-installed",
            "--quiet",
            "--report",
            "-",
        ]
        done = subprocess.run([*command, "--target", target, *arguments], capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["install"] if done.returncode == 0 else []
    return found


def _tags(machine: str) -> list[str]:
    old = {"x86_64": ("manylinux2014", "manylinux1"), "aarch64": ("manylinux2014",), "armv7l": ("manylinux2014",)}
    names = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS] + [f"{tag}_{machine}" for tag in old[machine]]
    options = [part for name in names for part in ("--platform", name)]
    abis = [part for name in ("cp311", "abi3", "none") for part in ("--abi", name)]
    return [*options, *abis, "--implementation", "cp", "--python-version", PYTHON, "--only-binary", ":all:"]


def _pin(name: str, version: str) -> Pinned:
    hashes: dict[str, str] = {}
    pure = False
    for machine in MACHINES:
        for item in _report("--no-deps", *_tags(machine), f"{name}=={version}"):
            hashes[machine] = _sha256(item)
            pure = pure or item["download_info"]["url"].endswith("-none-any.whl")
    if pure:
        return Pinned(name, version, tuple(sorted(set(hashes.values()))), ("any",))
    if len(hashes) < len(MACHINES):
        for item in _report("--no-deps", "--no-binary", ":all:", f"{name}=={version}"):
            hashes["source"] = _sha256(item)
    return Pinned(name, version, tuple(dict.fromkeys(hashes.values())), tuple(hashes))


def _sha256(item: dict[str, Any]) -> str:
    value: str = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return value


def _resolved(wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
    for item in _report(*wanted):
        yield item["metadata"]["name"].lower(), item["metadata"]["version"]


def main() -> int:
    """Prints or writes the file; ends with 1 where the index gives no answer."""
    wanted = runtime(project())
    pinned = [_pin(name, version) for name, version in sorted(_resolved(wanted))]
    if not pinned:
        print("the package index gives no answer: pip download pyserial says why", file=sys.stderr)
        return 1
    text = write_lock(pinned)
    if "--write" in sys.argv[1:]:
        LOCK.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
