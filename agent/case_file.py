"""The case file: one .tar.gz that is safe to e-mail, from which a stranger can understand what happened.

    first-page.txt      what is wrong, what it means in money, what to do: both languages
    items/ID.txt .json  each item with its story; ID-message.txt: its message explained, masked
    status.json, devices.json, configuration.toml (secrets hidden), log.txt, versions.txt
    SHA256SUMS

Rules not to break:
1. Every text goes through `clean`: card numbers become masks, and what could hide one in another coding (long runs of
   hexadecimal digits or base64) is left out of logs and messages of others.
2. Nothing is read that is not shown elsewhere anyway; the journal itself never goes into it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from agent.cli_items import why_text
from agent.status_text import render
from agent.texts_operations import phrase
from protocol.frozen import dataclass
from protocol.masking import scrub

LANGUAGES = ("en", "zh")
# Of a log only its end is needed, and an e-mail has limits.
LOG_BYTES_MAX = 1 << 20
ITEMS_MAX = 20
# From 12 digits a card number may be in it in BCD (6 bytes are its shortest), from 16 letters in base64.
_BLOB = re.compile(r"(?<![0-9A-Za-z+/=])(?:[0-9A-Fa-f]{24,}|[0-9A-Za-z+/]{32,}={0,2})(?![0-9A-Za-z+/=])")
_SPACED_HEX = re.compile(r"\b(?:[0-9A-Fa-f]{2}[ :]){7,}[0-9A-Fa-f]{2}\b")


@dataclass(frozen=True, slots=True)
class Case:
    """What is known. `messages`: explained messages by item id; `log` "" and `no_log` says why."""

    made_at_utc: str
    status: Mapping[str, Any]
    stories: Sequence[Mapping[str, Any]]
    devices: Sequence[Mapping[str, Any]] = ()
    configuration: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    no_messages: str = ""
    log: str = ""
    no_log: str = ""


def files(case: Case) -> dict[str, str]:
    """Every file but the checksums, by name; texts are clean."""
    found = {"first-page.txt": first_page(case)}
    for story in case.stories:
        name = f"items/{story['item']['id']}"
        found[f"{name}.json"] = json.dumps(story, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        found[f"{name}.txt"] = "\n".join(why_text(story, language) for language in LANGUAGES)
        explained = case.messages.get(story["item"]["id"])
        found[f"{name}-message.txt"] = explained or _both("bundle-no-messages", why=case.no_messages or "-")
    found["status.json"] = json.dumps(case.status, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    found["devices.json"] = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in case.devices)
    found["configuration.toml"] = case.configuration
    found["versions.txt"] = "".join(f"{name}: {value}\n" for name, value in case.versions.items())
    found["log.txt"] = without_blobs(case.log[-LOG_BYTES_MAX:]) or _both("bundle-no-log", why=case.no_log or "-")
    return {name: clean(text) for name, text in found.items()}


def first_page(case: Case) -> str:
    """For the one who opens it first: what is wrong, in both languages."""
    lines = [f"{phrase('bundle-title', language)}" for language in reversed(LANGUAGES)]
    lines += [case.made_at_utc, ""]
    lines += [phrase("bundle-safe", language) for language in reversed(LANGUAGES)]
    for language in reversed(LANGUAGES):
        lines += ["", "=" * 78, "", render(case.status, language, height=60)]
    for story in case.stories:
        found = story["item"]["diagnosis"]
        lines += [f"{story['item']['id']}  {story['item']['amount']}  {found['code']}"]
        lines += [f"  {found[f'cause_{language}']} {found[f'action_{language}']}" for language in reversed(LANGUAGES)]
    return "\n".join(lines) + "\n"


def write(path: Path, contents: Mapping[str, str]) -> None:
    """The archive, the same for the same contents: no user names, no times but those inside. Raises OSError."""
    sums = "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(contents.items()))
    beside = path.with_name(f".{path.name}.part")
    try:
        with tarfile.open(beside, "w:gz") as archive:
            for name, text in (*sorted(contents.items()), ("SHA256SUMS", sums)):
                data = text.encode()
                member = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # half an archive on a full disk is the last thing it needs


def clean(text: str) -> str:
    """Line by line, so that a long text costs no more than its length."""
    return "".join(scrub(line) for line in text.splitlines(keepends=True))


def without_blobs(text: str) -> str:
    """What might be a message in hexadecimal or base64 is named by its length only."""
    hidden = _SPACED_HEX.sub(lambda found: f"<hidden {len(found[0])}>", text)
    return _BLOB.sub(lambda found: f"<hidden {len(found[0])}>", hidden)


def chosen(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """Without a choice: everything that is open, the worst first."""
    return [item["id"] for item in items if item["pending"]][:ITEMS_MAX]


def _both(name: str, **values: str) -> str:
    return "".join(phrase(name, language, **values) + "\n" for language in LANGUAGES)
