"""The configuration file: `load` reads it or says everything that is wrong with it.

    text ──▶ tomllib ──▶ sections (config_keys, config_schema and its parts) ──▶ paths made absolute ──▶ config_checks

Rules not to break:
1. One run reports every error, each with key, line, what is wrong and what would be right.
2. A wrong file gives no configuration at all: there is no "mostly loaded".
3. Secrets appear in no error and no print-out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from agent.config_changes import KEY_FILES, needs_restart, unsafe_changes
from agent.config_checks import ProfileLoader, check, read_key_file
from agent.config_devices import Checkout, DeviceConfig
from agent.config_keys import ConfigError, Problem, Report, read_fields
from agent.config_lane import Gateway, Lane, Retry, Tls
from agent.config_print import effective
from agent.config_schema import Agent, Configuration, Journal, Keys, PendingLimits, Policy, Rights, Wrapping
from agent.toml_lines import locate
from protocol.profile import load_profile
from protocol.rules import RetryRules

__all__ = [
    "Agent",
    "Checkout",
    "ConfigError",
    "Configuration",
    "DeviceConfig",
    "Gateway",
    "Journal",
    "Keys",
    "Lane",
    "PendingLimits",
    "Policy",
    "Problem",
    "Retry",
    "Rights",
    "Tls",
    "Wrapping",
    "effective",
    "load",
    "needs_restart",
    "read_key_file",
    "retry_rules",
    "split_host",
    "unsafe_changes",
]

# A configuration is some kilobytes; a file larger than this is a mistake (a journal, a log).
FILE_BYTES_MAX = 1 << 20

_AT_LINE = re.compile(r"line (\d+)")


def load(file: Path | str, profile_loader: ProfileLoader = load_profile) -> Configuration:
    """The checked configuration of `file`, every path in it absolute. Raises ConfigError with all problems."""
    source = Path(file).absolute()
    table, lines = _parse(source)
    report = Report(lines)
    parts = _parts(table, source, report)
    shapes = list(report.problems)
    check(parts, table, profile_loader, report)
    if shapes:
        report.problems += _hidden(table, source, shapes, report, profile_loader)
    if report.problems:
        raise ConfigError(str(source), sorted(report.problems, key=lambda problem: problem.line))
    return Configuration(**parts, source=source, key_prints=dict(_key_prints(parts["lanes"])))


def _key_prints(lanes: Sequence[Lane]) -> Iterator[tuple[tuple[str, str], bytes]]:
    for lane in lanes:
        for name in KEY_FILES:
            if (file := getattr(lane, name)) is not None:
                with contextlib.suppress(OSError):  # it was there a moment ago, when it was checked; the lane will tell
                    yield (lane.name, name), hashlib.sha256(file.read_bytes()).digest()


def _parts(table: dict[str, Any], source: Path, report: Report) -> dict[str, Any]:
    """The sections of the file; a wrong one is None and reported."""
    return _with_places({**_defaults(), **read_fields(Configuration, table, "", report)}, source.parent)


def _hidden(
    table: dict[str, Any], source: Path, shapes: list[Problem], report: Report, profile_loader: ProfileLoader
) -> list[Problem]:
    """What could not be checked because of wrong keys, and was not told yet."""
    from agent.config_again import hidden  # only for a file with errors

    told = {problem.where for problem in report.problems}
    found = hidden(
        table,
        shapes,
        lambda mended: _parts(mended, source, Report()),
        lambda parts, again: check(parts, table, profile_loader, again),
        report.lines,
    )
    return [problem for problem in found if problem.where not in told]


def retry_rules(lane: Lane, rules: RetryRules) -> RetryRules:
    """The profile's retry rules with what the lane's configuration replaces."""
    given = {name: value for name, value in vars(lane.retry).items() if value is not None}
    return dataclasses.replace(rules, **given)


def split_host(address: str) -> tuple[str, int]:
    """ "[2001:db8::1]:5000" -> ("2001:db8::1", 5000)."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _parse(source: Path) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        if source.stat().st_mode & 0o002:
            _refuse(source, "anybody may write to this file", f"chmod o-w {source}")
        with source.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            _refuse(source, f"is larger than {FILE_BYTES_MAX} bytes", "name a configuration file")
        text = content.decode()
        return tomllib.loads(text), locate(text.replace("\r\n", "\n"))
    except OSError as error:
        _refuse(source, f"cannot be read: {error.strerror}", "check path and rights")
    except UnicodeDecodeError as error:
        _refuse(source, f"is not UTF-8 at byte {error.start}", "save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        _refuse(source, f"is not TOML: {error}", "see https://toml.io", int(found.group(1)) if found else 0)


def _refuse(source: Path, wrong: str, right: str, line: int = 0) -> NoReturn:
    raise ConfigError(str(source), [Problem("", line, wrong, right)])


def _defaults() -> dict[str, Any]:
    return {
        field.name: field.default
        for field in dataclasses.fields(Configuration)
        if field.default is not dataclasses.MISSING and "key" in field.metadata
    }


# --- relative paths ----------------------------------------------------------------------------


def _with_places(parts: dict[str, Any], here: Path) -> dict[str, Any]:
    """Every path made absolute; the bases are those of the keys' metadata."""
    agent: Agent | None = parts["agent"]
    state_dir = here / agent.state_dir if agent else here
    if agent:
        run_dir = here / agent.run_dir
        agent = dataclasses.replace(agent, state_dir=state_dir, run_dir=run_dir, socket=run_dir / agent.socket)
    return {
        **parts,
        "agent": agent,
        "journal": _below(parts["journal"], state_dir),
        "keys": _keys_with_places(parts["keys"], state_dir),
        "policy": _below(parts["policy"], here),
        "alerts": _below(parts["alerts"], agent.run_dir if agent else here),
        "selftest": _below(parts["selftest"], here),
        "profiles_directories": tuple(here / directory for directory in parts["profiles_directories"]),
        "lanes": tuple(_lane_with_places(lane, here) for lane in parts.get("lanes", ())),
    }


def _keys_with_places(keys: Keys | None, state_dir: Path) -> Keys | None:
    if keys is None:
        return None
    wrappings = tuple(_below(wrapping, state_dir) for wrapping in keys.wrappings)
    placed: Keys = _below(dataclasses.replace(keys, wrappings=wrappings), state_dir)
    return placed


def _lane_with_places(lane: Lane | None, here: Path) -> Lane | None:
    return _below(dataclasses.replace(lane, tls=_below(lane.tls, here)), here) if lane else None


def _below(section: Any, base: Path) -> Any:
    """The same section with its relative paths made absolute."""
    if section is None:
        return None
    paths = {name: base / value for name, value in vars(section).items() if isinstance(value, Path)}
    return dataclasses.replace(section, **paths)
