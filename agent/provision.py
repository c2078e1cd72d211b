"""The configuration of one terminal from a few answers: what is asked, what it becomes, and how it is put in place.

    answers (agent/provision_questions.py) ──▶ render ──▶ tried (agent/provision_trial.py) ──▶ put in place

Rules not to break:
1. The old file is kept beside the new one; the new one takes its name whole or not at all.
2. While something is pending, nothing changes that agent/config_changes.py calls unsafe; where nobody can say what is
   pending, nothing changes at all.
3. The data key is made by the vault's own rule: never beside an existing journal, never over another one.
4. No answer that is secret is shown or repeated.
"""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent import config as settings
from agent.config_changes import unsafe_changes
from agent.config_devices import Checkout, DeviceConfig
from agent.config_lane import Lane, Tls
from agent.config_schema import Agent, Policy
from agent.durable_file import rename_durably
from agent.key_sources import wrappers
from agent.provision_questions import NO, YES, Answers, split
from agent.removal import RemovalError, pending, places
from agent.vault import Vault
from protocol.errors import AgentError

USER = "reversald"
# What this command writes; a configuration that says more is not rewritten by it.
_KNOWN: Mapping[str, frozenset[str]] = {
    "agent": frozenset({"language", "socket_group", "state_dir", "run_dir"}),
    "policy": frozenset({"confirm"}),
    "lane": frozenset(
        {
            *("name", "profile", "terminal_id", "merchant_id", "currency", "hosts", "tls", "mac", "mac_key_file"),
            *("master_key_file", "sign_on", "mac_key", "pinpad", "pinpad_master_key", "pin_key"),
        }
    ),
    "device": frozenset({"name", "kind", "driver", "port", "columns"}),
    "checkout": frozenset({"reader", "pinpad", "printer", "merchant_name"}),
}


class ProvisionError(AgentError):
    """The configuration cannot be made or may not be changed."""

    code = "E-PROVISION"


# --- the file ----------------------------------------------------------------------------------


def render(answers: Mapping[str, str], state_dir: str = "", run_dir: str = "") -> str:
    """The configuration with a comment on every key. `state_dir`, `run_dir`: for a trial elsewhere."""
    lines = [
        "# Written by `reversalctl provision`; change it by hand or run that again. Every key: docs/configuration.md.",
        "# reversald --check-config says everything that is wrong with it.",
    ]
    agent = {"language": answers["language"], "socket_group": answers.get("socket_group", "")}
    lines += _section("[agent]", Agent, {**agent, "state_dir": state_dir, "run_dir": run_dir})
    lines += _section("[policy]", Policy, {"confirm": answers["confirm"]})
    lines += _section("[[lane]]", Lane, _lane(answers))
    if answers.get("tls") == YES:
        tls = {"ca_file": answers.get("tls_ca_file", ""), "pin_sha256": split(answers.get("tls_pins", ""))}
        lines += _section("[lane.tls]", Tls, tls)
    for device in _devices(answers):
        lines += _section("[[device]]", DeviceConfig, device)
    if answers.get("reader_port"):
        lines += _section("[checkout]", Checkout, _checkout(answers))
    return "\n".join(lines) + "\n"


def _lane(answers: Mapping[str, str]) -> dict[str, Any]:
    names = ("name", "profile", "terminal_id", "merchant_id", "currency", "mac", "mac_key_file", "master_key_file")
    lane: dict[str, Any] = {name: answers.get(name, "") for name in names}
    lane["hosts"] = split(answers["hosts"])
    if answers.get("sign_on") == YES:
        lane["sign_on"] = True
    if answers.get("mac") == "pinpad":
        lane |= {"pinpad": "pinpad", "mac_key": answers.get("mac_key", "")}
    if answers.get("pinpad_port"):
        lane |= {"pinpad": "pinpad", "pin_key": answers.get("pin_key", "")}
        lane["pinpad_master_key"] = int(answers.get("pinpad_master_key", "0"))
    return lane


def _devices(answers: Mapping[str, str]) -> list[dict[str, Any]]:
    drivers = {"reader": answers.get("reader_driver", ""), "pinpad": "ipp", "printer": "escpos"}
    found = [
        {"name": kind, "kind": kind, "driver": driver, "port": answers[f"{kind}_port"]}
        for kind, driver in drivers.items()
        if answers.get(f"{kind}_port")
    ]
    columns = {"columns": int(answers.get("printer_columns", "32"))}
    return [{**one, **columns} if one["kind"] == "printer" else one for one in found]


def _checkout(answers: Mapping[str, str]) -> dict[str, Any]:
    used = {kind: kind for kind in ("reader", "pinpad", "printer") if answers.get(f"{kind}_port")}
    return {**used, "merchant_name": answers.get("merchant_name", "")}


def _section(head: str, section: type[Any], values: Mapping[str, Any]) -> list[str]:
    known = {one.name: one.metadata["key"] for one in dataclasses.fields(section) if "key" in one.metadata}
    lines = ["", head]
    for name, value in values.items():
        if value in ("", []):
            continue
        lines += [f"# {known[name].meaning}.", f"{name} = {_toml(value)}"]
    return lines


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- putting it in place -----------------------------------------------------------------------


def refuse_unsafe(target: Path, draft: Path) -> None:
    """Raises ProvisionError where the new file must not take the old one's place now."""
    where = places(target)
    try:
        items = pending(where)
    except RemovalError as error:
        raise ProvisionError(f"nobody can say what is pending: {error.text}", error.hint) from None
    if not items:
        return
    listed = "".join(f"\n{one.line()}" for one in items)
    old = settings.load(target)
    unsafe = unsafe_changes(old, _at_its_place(draft, target), {one.lane for one in items})
    if unsafe:
        hint = "wait until reversalctl list is empty"
        raise ProvisionError("unsafe while reversals are pending: " + "; ".join(unsafe) + listed, hint)


def _at_its_place(draft: Path, target: Path) -> settings.Configuration:
    return dataclasses.replace(settings.load(draft), source=target)


def put_in_place(text: str, target: Path) -> Path | None:
    """Writes the configuration (0640, of the daemon's group where there is one); the old file's new name, or None."""
    kept = None
    try:
        if target.exists():
            kept = target.with_name(f"{target.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.old")
            os.link(target, kept)
        rename_durably(write_draft(text, target), target)
    except OSError as error:
        raise ProvisionError(f"{target} cannot be written: {error.strerror}", "check the directory's rights") from None
    return kept


def write_draft(text: str, target: Path) -> Path:
    """The new file beside the old one, on the disk, with its final rights. Raises ProvisionError."""
    draft = target.with_name(target.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            if (group := daemon_group()) is not None:
                os.fchown(descriptor, -1, group)
                os.fchmod(descriptor, 0o640)
            os.fsync(descriptor)
    except OSError as error:
        raise ProvisionError(f"{draft} cannot be written: {error.strerror}", "run this as root") from None
    return draft


def make_key(target: Path) -> bool:
    """Makes the data key where there is neither a key nor a journal. True: it was made now."""
    where = places(target)
    before = where.key_file.exists() or where.key_file.with_name(where.key_file.name + ".new").exists()
    if not where.state_dir.is_dir():
        where.state_dir.mkdir(mode=0o700, parents=True)
        _give(where.state_dir)
    Vault.open_or_create(where.key_file, (where.journal, where.highwater), wrappers(where.wrappings))
    waiting = where.key_file.with_name(where.key_file.name + ".new")
    if not before and waiting.exists():
        _give(waiting)
    return not before


def daemon_group() -> int | None:
    """The daemon's group, where this machine has it and we may give files away."""
    try:
        return grp.getgrnam(USER).gr_gid if os.geteuid() == 0 else None
    except KeyError:
        return None


def _give(path: Path) -> None:
    """To the daemon's user."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return
    if os.geteuid() == 0:
        os.chown(path, user.pw_uid, user.pw_gid)


def usual_answers(target: Path) -> Answers:
    """What the existing configuration says, as proposals. Raises ProvisionError where it says more than is asked."""
    try:
        old = settings.load(target)
    except AgentError:
        return {}
    table = tomllib.loads(target.read_text(encoding="utf-8"))
    more = [] if len(old.lanes) == 1 else ["several lanes"]
    for name, section in table.items():
        parts = section if isinstance(section, list) else [section]
        keys = {key for part in parts for key in (part if isinstance(part, dict) else {name: part})}
        more += sorted(f"{name}.{key}" for key in keys - _KNOWN.get(name, frozenset()))
    if more:
        hint = "change it by hand: this command would drop that"
        raise ProvisionError(f"{target} says more than this command asks for: {', '.join(more)}", hint)
    return _of_configuration(old)


def kept_places(target: Path) -> tuple[str, str]:
    """state_dir and run_dir of the existing configuration, where they are not the usual ones."""
    try:
        agent = settings.load(target).agent
    except AgentError:
        return "", ""
    usual = Agent()
    state_dir = "" if agent.state_dir == usual.state_dir else str(agent.state_dir)
    return state_dir, "" if agent.run_dir == usual.run_dir else str(agent.run_dir)


def _of_configuration(old: settings.Configuration) -> Answers:
    lane, devices = old.lanes[0], {one.kind: one for one in old.devices}
    found = {name: str(getattr(lane, name)) for name in ("name", "profile", "terminal_id", "merchant_id", "currency")}
    found |= {"hosts": " ".join(lane.hosts), "mac": lane.mac}
    found |= {"sign_on": YES if lane.sign_on else NO} if lane.mac != "none" else {}
    found |= {"language": old.agent.language, "socket_group": old.agent.socket_group, "confirm": old.policy.confirm}
    for name in ("mac_key_file", "master_key_file", "mac_key", "pin_key"):
        found[name] = str(getattr(lane, name) or "")
    if lane.tls is not None:
        found |= {"tls": YES, "tls_ca_file": str(lane.tls.ca_file or ""), "tls_pins": " ".join(lane.tls.pin_sha256)}
    found |= {f"{kind}_port": device.port for kind, device in devices.items()}
    if "pinpad" in devices:
        found["pinpad_master_key"] = str(lane.pinpad_master_key)
    if "reader" in devices:
        found["reader_driver"] = devices["reader"].driver
    if "printer" in devices:
        found["printer_columns"] = str(devices["printer"].columns)
    if old.checkout is not None:
        found["merchant_name"] = old.checkout.merchant_name
    return {name: value for name, value in found.items() if value}


def known_ports(directory: Path = Path("/dev")) -> Sequence[str]:
    """Serial ports of this machine, the stable names first."""
    stable = sorted(directory.glob("pos/*"))
    plain = [path for name in ("ttyUSB*", "ttyACM*") for path in sorted(directory.glob(name))]
    return [f"serial:{path}" for path in (*stable, *plain)]
