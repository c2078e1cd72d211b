"""Writes a software bill of materials in CycloneDX 1.5 (JSON): python udev/make_sbom.py [FILE].

Two bills: what `pip install` of the lock puts on a machine (this command), and what the Debian package holds and
depends on (`of_package`, called by udev/make_deb.py). Both are made from pyproject.toml, the lock and wheels' metadata;
the same release always gives the same bytes, so the serial number is derived from them.
"""

from __future__ import annotations

import email.parser
import json
import re
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dependencies import LOCK, plan, project, read_lock, release

NAME = "pos-reversal-agent"
FORMAT, SPECIFICATION = "CycloneDX", "1.5"


def of_lock() -> str:
    """Of an installation with pip: ours and every pinned dependency with its hashes."""
    pinned = read_lock(LOCK.read_text(encoding="utf-8"))
    parts = [_pypi(one.name, one.version, one.hashes) for one in pinned]
    return _bill(parts)


def of_package(private: Path) -> str:
    """Of the Debian package: what lies in its private directory, and what it depends on."""
    pinned = read_lock(LOCK.read_text(encoding="utf-8"))
    hashes = {one.name: one.hashes for one in pinned}
    parts = []
    for metadata in sorted(private.glob("*.dist-info/METADATA")):
        about = email.parser.Parser().parsestr(metadata.read_text(encoding="utf-8"))
        name = about["Name"].lower()
        parts.append(_pypi(name, about["Version"], hashes[name], about["License"] or ""))
    depends, recommends, _ = plan(project())
    return _bill([*parts, *(_debian(text, "required") for text in depends), *_optional(recommends)])


def _optional(recommends: Sequence[str]) -> list[dict[str, Any]]:
    return [_debian(text, "optional") for text in recommends]


def _pypi(name: str, version: str, hashes: Sequence[str], license_name: str = "") -> dict[str, Any]:
    reference = f"pkg:pypi/{name}@{version}"
    part: dict[str, Any] = {"type": "library", "bom-ref": reference, "name": name, "version": version}
    # One component has one file's hash; the hashes of its other files are named beside it.
    part["hashes"] = [{"alg": "SHA-256", "content": hashes[0]}]
    if license_name:
        part["licenses"] = [{"license": {"name": license_name}}]
    part["purl"] = reference
    if hashes[1:]:
        part["properties"] = [{"name": "sha256:further-file", "value": value} for value in hashes[1:]]
    return part


def _debian(dependency: str, scope: str) -> dict[str, Any]:
    """ "python3-serial (>= 3.5)": the version is the machine's; the bound is what is known here."""
    found = re.fullmatch(r"(\S+) \(>= ([^)]+)\)", dependency)
    assert found is not None
    name, bound = found.groups()
    reference = f"pkg:deb/debian/{name}"
    return {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "scope": scope,
        "purl": reference,
        "properties": [{"name": "debian:depends", "value": f">= {bound}"}],
    }


def _bill(parts: Sequence[dict[str, Any]]) -> str:
    table = project()["project"]
    version = release()
    ours = f"pkg:pypi/{NAME}@{version}"
    bill: dict[str, Any] = {
        "bomFormat": FORMAT,
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": NAME,
                "version": version,
                "description": table["description"],
                "licenses": [{"license": {"id": table["license"]["text"]}}],
                "purl": ours,
            }
        },
        "components": list(parts),
        "dependencies": [
            {"ref": ours, "dependsOn": [part["bom-ref"] for part in parts]},
            *({"ref": part["bom-ref"]} for part in parts),
        ],
    }
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bill, sort_keys=True))}"
    return json.dumps(bill, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Prints or writes the bill of an installation with pip."""
    text = of_lock()
    if len(sys.argv) > 1:
        target = Path(sys.argv[1])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
