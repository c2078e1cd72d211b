"""What a closing by hand leaves behind: JSON for machines, text for people, and their checksums.

Made from the item and its story alone, so that it can be made again from the journal. No card data: the story has none.
`sha256sum -c settled-ID.sha256` checks both files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.durable_file import replace_durably

SCHEMA = 1


def paths(directory: Path, txn_id: str) -> tuple[Path, Path, Path]:
    """Where the JSON, the text and the checksums of one item are."""
    stem = f"settled-{txn_id}"
    return directory / f"{stem}.json", directory / f"{stem}.txt", directory / f"{stem}.sha256"


def write(directory: Path, story: Mapping[str, Any]) -> list[Path]:
    """Writes the three files durably; their paths. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = paths(directory, story["item"]["id"])
    contents = [document(story).encode(), text(story).encode()]
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {path.name}\n" for content, path in zip(contents, files, strict=False)
    )
    # The JSON file comes last: where it stands, the others do too.
    for path, content in ((files[2], sums.encode()), (files[1], contents[1]), (files[0], contents[0])):
        replace_durably(path, content)
    return list(files)


def document(story: Mapping[str, Any]) -> str:
    """The JSON file: the item, its closing and every step with its place in the journal."""
    known = {"schema": SCHEMA, "kind": "settled", "item": story["item"], "timeline": story["timeline"]}
    return json.dumps(known, ensure_ascii=False, sort_keys=True, indent=1) + "\n"


def text(story: Mapping[str, Any]) -> str:
    """The text file, in both languages."""
    item, closing = story["item"], story["item"]["closing"]
    facts = [
        ("编号 item", item["id"]),
        ("商户号 merchant", item["merchant_id"]),
        ("终端号 terminal", item["terminal_id"]),
        ("批次号 batch", item["batch"]),
        ("流水号 STAN", item["stan"]),
        ("参考号 RRN", item["rrn"] or "-"),
        ("金额 amount", item["amount"]),
        ("卡号 card", item["card"] or "-"),
        ("交易时间 begun (UTC)", item["begun_utc"]),
        ("原因 reason", closing["reason"]),
        ("银行凭证号 bank reference", closing["bank_reference"]),
        ("结案人 closed by", closing["by"]),
        ("确认人 confirmed by", closing["confirmed_by"] or "-"),
        ("结案时间 closed (UTC)", closing["at_utc"]),
    ]
    lines = ["人工结案凭证 / EVIDENCE OF A CLOSING BY HAND", "", *(f"{name}: {value}" for name, value in facts), ""]
    lines.append("经过 / What happened:")
    for entry in story["timeline"]:
        lines.append(f"  [{entry['seq']}] {entry['at_utc']}  {entry['text_zh']}  {entry['text_en']}")
    return "\n".join(lines) + "\n"
