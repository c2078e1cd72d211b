"""docs/configuration.md tells every key as the program has it: type, default, range and meaning."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import ConfigError, Configuration, load
from agent.config_devices import Checkout, DeviceConfig
from agent.config_keys import Key, fields_of, file_name, required
from agent.config_lane import Gateway, Lane, Retry, Tls
from agent.config_schema import Agent, Journal, Keys, PendingLimits, Policy, Rights, Wrapping
from agent.config_watch import Alerts, Plan, SelfTest

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()

HEADINGS: dict[str, type[Any]] = {
    "## Top level": Configuration,
    "## `[agent]`": Agent,
    "## `[journal]`": Journal,
    "## `[keys]`": Keys,
    "### `[[keys.wrapping]]`": Wrapping,
    "## `[policy]`": Policy,
    "### `while_pending = { ... }`": PendingLimits,
    "## `[[lane]]`": Lane,
    "### `[lane.tls]`": Tls,
    "### `[lane.retry]`": Retry,
    "## `[[device]]`": DeviceConfig,
    "## `[checkout]`": Checkout,
    "## `[alerts]`": Alerts,
    "## `[selftest]`": SelfTest,
    "## `[[plan]]`": Plan,
    "## `[[gateway]]`": Gateway,
    "## `[rights]`": Rights,
}


def rows(section: type[Any]) -> Iterator[str]:
    """The lines of the section's table."""
    yield "| key | type | default | allowed | meaning |"
    yield "|---|---|---|---|---|"
    for field in fields_of(section):
        key: Key = field.metadata["key"]
        if key.section is None or key.choices:
            cells = (f"`{file_name(field)}`", key.kind, default(field, key), allowed(key), key.meaning)
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def default(field: dataclasses.Field[Any], key: Key) -> str:
    if required(field):
        return "**required**"
    if field.default is None or field.default in ("", ()):
        return "-"
    if isinstance(field.default, Path):
        below = f"{key.base.removeprefix('agent.')}/" if key.base.startswith("agent.") else ""
        return f"`{below}{field.default}`"
    return f"`{json.dumps(field.default)}`"


def allowed(key: Key) -> str:
    if key.kind == "list of texts":
        return f"{key.low} to {key.high}, each: {key.shape}"
    words = key.range if key.kind != "true or false" else "true, false"
    return f"{words} {key.unit}".strip()


def part(heading: str) -> str:
    """What stands under a heading, up to the next one."""
    assert f"\n{heading}\n" in PAGE, f"the page has no heading {heading}"
    after = PAGE.split(f"\n{heading}\n", 1)[1]
    return re.split(r"\n#+ ", after, maxsplit=1)[0]


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_key_stands_in_its_table_as_the_program_has_it(heading: str) -> None:
    table = [line for line in part(heading).splitlines() if line.startswith("|")]
    assert table == list(rows(HEADINGS[heading]))


def test_every_section_of_the_program_has_a_heading() -> None:
    assert set(_sections(Configuration)) == set(HEADINGS.values())


def _sections(section: type[Any]) -> Iterator[type[Any]]:
    yield section
    for field in fields_of(section):
        if inner := field.metadata["key"].section:
            yield from _sections(inner)


def test_the_example_of_the_page_loads(tmp_path: Path) -> None:
    example = re.search(r"```toml\n# /etc/reversald/reversald.toml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    text = example.group(1)
    assert len(tomllib.loads(text)["lane"]) == 2
    file = tmp_path / "reversald.toml"
    file.write_text(text)
    (tmp_path / "gifts-ca.pem").touch()  # the one thing that is not there on this machine
    assert [lane.name for lane in load(file).lanes] == ["till-1", "gift-cards"]


def test_the_page_shows_errors_as_the_program_prints_them(tmp_path: Path) -> None:
    shown = re.search(r"```console\n\$ reversald --check-config.*?\n(.*?)```", PAGE, re.DOTALL)
    wrong = re.search(r"```toml\n# wrong.toml\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert wrong is not None
    file = tmp_path / "wrong.toml"
    file.write_text("# wrong.toml\n" + wrong.group(1))
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).replace(str(file), "wrong.toml") == shown.group(1).strip()
