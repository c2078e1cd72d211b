"""What a release is made of: pinned hashes, bills of materials, packages for every board; each complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
UDEV = ROOT / "udev"
PAGE = ROOT / "docs/deployment.md"


@pytest.fixture(scope="module")
def dependencies() -> ModuleType:
    return _loaded("dependencies")


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    return _loaded("make_sbom")


def _loaded(name: str) -> ModuleType:
    """A builder's file; udev/ is no package."""
    sys.path.insert(0, str(UDEV))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(UDEV))


def lock_text() -> str:
    return (UDEV / "requirements.lock").read_text(encoding="utf-8")


def test_the_lock_pins_every_dependency_that_a_shop_installs(dependencies: ModuleType) -> None:
    pinned = {one.name: one for one in dependencies.read_lock(lock_text())}
    wanted = dependencies.runtime(dependencies.project())
    names = {re.split(r"[><=;\s]", text)[0].lower() for text in wanted}
    assert names <= set(pinned)
    assert set(pinned) - names <= {"cffi", "pycparser"}  # what these need themselves
    for one in pinned.values():
        assert one.hashes
        assert len(set(one.hashes)) == len(one.hashes)
    assert lock_text().count("--hash=sha256:") == sum(len(one.hashes) for one in pinned.values())


def test_the_pins_satisfy_the_bounds(dependencies: ModuleType) -> None:
    pinned = {one.name: one.version for one in dependencies.read_lock(lock_text())}
    for text in dependencies.runtime(dependencies.project()):
        name, bound = re.match(r"([A-Za-z0-9-]+)>=([0-9.]+)", text).groups()  # type: ignore[union-attr]
        assert _parts(pinned[name.lower()]) >= _parts(bound), text


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_no_release_file_names_where_packages_come_from(dependencies: ModuleType, sbom: ModuleType) -> None:
    for text in (lock_text(), sbom.of_lock(), (UDEV / "debian/control.in").read_text(encoding="utf-8")):
        assert "://" not in text.replace("http://cyclonedx.org", "")
        assert not re.search(r"\b(?:index|mirror|files)\.[a-z]+\.", text)


def test_pip_takes_the_lock_for_what_it_is(tmp_path: Path) -> None:
    """Every line has a hash and a version; no package is asked of anybody."""
    blocks = [block for block in lock_text().replace("\\\n", " ").splitlines() if block and not block.startswith("#")]
    for block in blocks:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+(?:\s+--hash=sha256:[0-9a-f]{64})+", block.strip()), block


def test_the_bill_of_materials_is_valid_and_complete(dependencies: ModuleType, sbom: ModuleType) -> None:
    text = sbom.of_lock()
    problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    assert problem is None, problem
    bill = json.loads(text)
    pinned = dependencies.read_lock(lock_text())
    assert {(one["name"], one["version"]) for one in bill["components"]} == {(one.name, one.version) for one in pinned}
    assert bill["metadata"]["component"]["version"] == dependencies.release()
    assert text == sbom.of_lock()


def test_the_bill_of_the_package_names_what_it_ships_and_depends_on(
    dependencies: ModuleType, sbom: ModuleType, tmp_path: Path
) -> None:
    metadata = tmp_path / "pyiso8583-4.0.1.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: pyiso8583\nVersion: 4.0.1\nLicense: MIT\n")
    text = sbom.of_package(tmp_path)
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    names = {one["name"] for one in json.loads(text)["components"]}
    assert names == {"pyiso8583", *dependencies.DISTRIBUTION.values()}


def test_every_dependency_is_a_debian_package_or_shipped_along(dependencies: ModuleType) -> None:
    depends, recommends, shipped = dependencies.plan(dependencies.project())
    assert len(depends) + len(recommends) + len(shipped) == len(dependencies.runtime(dependencies.project()))
    pinned = {one.name: one for one in dependencies.read_lock(lock_text())}
    for name in shipped:
        assert pinned[name].machines == ("any",), f"{name} would need a compiler on the board"


def test_the_table_of_boards_is_the_locks(dependencies: ModuleType) -> None:
    """docs/deployment.md: one row a dependency: version, wheels, Debian's package."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([0-9.]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    told = {name: (version, wheels.strip(), package.strip()) for name, version, wheels, package in rows}
    pinned = dependencies.read_lock(lock_text())
    assert set(told) == {one.name for one in pinned}
    for one in pinned:
        version, wheels, package = told[one.name]
        assert version == one.version
        assert tuple(wheels.split(", ")) == one.machines
        known = dependencies.DISTRIBUTION.get(one.name)
        assert package == f"`{known}`" if known else package
        missing = set(dependencies.MACHINES) - set(one.machines)
        assert one.machines == ("any",) or not missing or package.startswith("`python3-"), one.name


def test_the_maintainer_scripts_are_shell_that_parses() -> None:
    for name in ("postinst", "prerm", "postrm", "reversald.init"):
        path = UDEV / "debian" / name
        subprocess.run(["sh", "-n", str(path)], check=True)
        assert path.read_text().splitlines()[0] == "#!/bin/sh"
        assert "set -e" in path.read_text()


def test_the_daemons_man_page_names_its_options() -> None:
    page = (ROOT / "docs/man/reversald.8").read_text().replace("\\-", "-")
    done = subprocess.run(
        [sys.executable, "-m", "agent", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    options = set(re.findall(r"(--[a-z-]+)", done.stdout)) - {"--help"}
    assert options
    for option in options:
        assert option in page, option
