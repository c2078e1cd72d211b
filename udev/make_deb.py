"""Builds the Debian package with nothing but dpkg-deb and pip: python udev/make_deb.py [--version V] [--output DIR].

What the distribution has is depended on (DISTRIBUTION in udev/dependencies.py); what it lacks is taken as a pure Python
wheel, by its hash in udev/requirements.lock, into the package's private directory. Installing needs no network.

Rules not to break:
1. Every dependency of pyproject.toml is in DISTRIBUTION or in the lock as "any": `plan` refuses anything else.
2. Nothing is taken from the environment of whoever builds: files come from the source tree, wheels by hash.
3. The same sources give the same package, byte for byte: files are sorted, and bear the date of SOURCE_DATE_EPOCH or
   of the change log.
"""

from __future__ import annotations

import argparse
import email.utils
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import make_sbom
from dependencies import HERE, LOCK, ROOT, DependencyError, Pinned, plan, project, read_lock, release

PACKAGE = "pos-reversal-agent"
PRIVATE = Path("usr/lib") / PACKAGE
DOCUMENTS = Path("usr/share/doc") / PACKAGE
ROOMS = ("agent", "drivers", "hwsim", "protocol")
# Of pyproject.toml's scripts; the simulators' is for benches.
COMMANDS = ("reversald", "reversalctl")
SCRIPTS = ("postinst", "prerm", "postrm")
# A file of the release as it is: where it goes.
PLAIN = {
    "udev/reversald.service": "usr/lib/systemd/system/reversald.service",
    "udev/reversald.sysusers.conf": "usr/lib/sysusers.d/reversald.conf",
    "udev/reversald.tmpfiles.conf": "usr/lib/tmpfiles.d/reversald.conf",
    "udev/70-pos-devices.rules": "usr/lib/udev/rules.d/70-pos-devices.rules",
    "udev/71-pos-local.rules.example": f"{DOCUMENTS}/examples/71-pos-local.rules",
    "udev/requirements.lock": f"{DOCUMENTS}/requirements.lock",
    "udev/debian/reversald.toml.example": "etc/reversald/reversald.toml.example",
    "README.md": f"{DOCUMENTS}/README.md",
    "SECURITY.md": f"{DOCUMENTS}/SECURITY.md",
}


class BuildError(RuntimeError):
    """The package cannot be built; the text says what to do."""


# --- the tree ----------------------------------------------------------------------------------


def fill(tree: Path, version: str) -> None:
    """Everything that is installed. Raises BuildError."""
    for source, target in PLAIN.items():
        _copy(ROOT / source, tree / target)
    _rooms(tree)
    _vendored(tree, plan(project())[2])
    template = (HERE / "debian/command.in").read_text(encoding="utf-8")
    scripts = project()["project"]["scripts"]
    modules = {f"usr/bin/{name}": scripts[name].removesuffix(":main") for name in COMMANDS}
    for target, module in {**modules, f"{PRIVATE}/removal": "agent.removal"}.items():
        _write(tree / target, template.replace("@MODULE@", module), 0o755)
    _write(tree / "etc/init.d/reversald", (HERE / "debian/reversald.init").read_text(encoding="utf-8"), 0o755)
    _pages(tree, version)
    _control(tree, version)


def _rooms(tree: Path) -> None:
    for room in ROOMS:
        for source in sorted((ROOT / room).rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                _copy(source, tree / PRIVATE / source.relative_to(ROOT))


def _vendored(tree: Path, names: Sequence[str]) -> None:
    """Pure Python wheels, by hash, with their metadata: the bill of materials and people read it."""
    lock = {one.name: one for one in read_lock(LOCK.read_text())}
    for name in names:
        if name not in lock or lock[name].machines != ("any",):
            raise BuildError(f"{name} is neither in the distribution nor a pure Python wheel of requirements.lock")
    with tempfile.TemporaryDirectory() as directory:
        wanted = Path(directory, "wanted.txt")
        wanted.write_text("".join(_required(lock[name]) for name in names))
        options = ["--no-deps", "--no-compile", "--require-hashes", "--only-binary", ":all:", "--quiet"]
        target = str(tree / PRIVATE)
        command = [sys.executable, "-m", "pip", "install", *options, "--target", target, "-r", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"the wheels of {', '.join(names)} could not be had: {done.stderr.strip()[-300:]}")
    for left in ("bin", "__pycache__"):
        shutil.rmtree(tree / PRIVATE / left, ignore_errors=True)
    for metadata in (tree / PRIVATE).glob("*.dist-info"):
        (metadata / "direct_url.json").unlink(missing_ok=True)
        for path in [*metadata.rglob("*"), *(tree / PRIVATE).rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def _required(one: Pinned) -> str:
    return f"{one.name}=={one.version} " + " ".join(f"--hash=sha256:{value}" for value in one.hashes) + "\n"


def _pages(tree: Path, version: str) -> None:
    """Man pages, completions, documents, bill of materials."""
    for page in sorted((ROOT / "docs/man").glob("*.[18]")):
        target = tree / f"usr/share/man/man{page.suffix[1:]}" / f"{page.name}.gz"
        _write(target, gzip.compress(page.read_bytes(), 9, mtime=0))
    for page in sorted((ROOT / "docs").glob("*.*")):
        _copy(page, tree / DOCUMENTS / page.name)
    _copy(ROOT / "CHANGELOG.md", tree / DOCUMENTS / "CHANGELOG.md")
    _write(tree / DOCUMENTS / "changelog.gz", gzip.compress(_changelog(version).encode(), 9, mtime=0))
    license_text = "".join(f" {line}\n" if line else " .\n" for line in (ROOT / "LICENSE").read_text().splitlines())
    copyright_text = (HERE / "debian/copyright.in").read_text(encoding="utf-8")
    notices = "".join(_notice(tree / PRIVATE, path) for path in sorted((tree / PRIVATE).glob("*.dist-info")))
    text = copyright_text.replace("@LICENSE@\n", license_text).replace("@VENDORED@\n", notices)
    _write(tree / DOCUMENTS / "copyright", text)
    for shell, target in (
        ("bash", "usr/share/bash-completion/completions/reversalctl"),
        ("zsh", "usr/share/zsh/vendor-completions/_reversalctl"),
    ):
        _write(tree / target, _run_own("agent.cli", "completion", shell))
    _write(tree / DOCUMENTS / "sbom.cdx.json", make_sbom.of_package(tree / PRIVATE))


def _changelog(version: str) -> str:
    """Debian's form, which names the version; what changed stands in CHANGELOG.md."""
    date = email.utils.formatdate(int(_moment()))
    by = "pos-reversal-agent maintainers <maintainers@example.org>"
    return f"{PACKAGE} ({version}) stable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {by}  {date}\n"


def _moment() -> str:
    """Seconds since 1970 that every file of the package bears."""
    return os.environ.get("SOURCE_DATE_EPOCH") or str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


def _notice(private: Path, metadata: Path) -> str:
    name = metadata.name.removesuffix(".dist-info").rpartition("-")[0]
    text = next((path.read_text() for path in sorted(metadata.rglob("LICENSE*"))), "see its metadata")
    quoted = "".join(f" {line}\n" if line.strip() else " .\n" for line in text.splitlines())
    return f"\nFiles: {PRIVATE}/{name}*\nCopyright: the authors of {name}\nLicense: {name}\n{quoted}"


def _run_own(module: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def _control(tree: Path, version: str) -> None:
    depends, recommends, _ = plan(project())
    size_kib = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) // 1024 + 1
    values = {
        "VERSION": version,
        "SIZE": str(size_kib),
        "DEPENDS": ", ".join(depends),
        "RECOMMENDS": ", ".join(recommends),
    }
    text = (HERE / "debian/control.in").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    _write(tree / "DEBIAN/control", text)
    _copy(HERE / "debian/conffiles", tree / "DEBIAN/conffiles")
    for script in SCRIPTS:
        _write(tree / "DEBIAN" / script, (HERE / "debian" / script).read_text(encoding="utf-8"), 0o755)


def _copy(source: Path, target: Path) -> None:
    _write(target, source.read_bytes())


def _write(target: Path, content: str | bytes, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    target.chmod(mode)


# --- the package -------------------------------------------------------------------------------


def build(output: Path, version: str) -> Path:
    """The package's file. Raises BuildError."""
    if shutil.which("dpkg-deb") is None:
        raise BuildError("dpkg-deb is missing: apt-get install dpkg")
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{PACKAGE}_{version}_all.deb"
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory, "tree")
        tree.mkdir(mode=0o755)
        fill(tree, version)
        for path in [tree, *tree.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _moment()}
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BuildError(done.stderr.strip())
    return target


def main() -> int:
    """Builds; prints where the package is."""
    parser = argparse.ArgumentParser(description="Builds the Debian package.")
    parser.add_argument("--version", default=release(), help="the package's version (default: the release's)")
    parser.add_argument("--output", type=Path, default=ROOT / "build")
    options = parser.parse_args()
    try:
        package = build(options.output, options.version)
    except (BuildError, DependencyError) as error:
        print(error, file=sys.stderr)
        return 1
    print(package)
    return 0


if __name__ == "__main__":
    sys.exit(main())
