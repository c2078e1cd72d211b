"""What must fit together in a configuration, beyond the shape of single keys.

Each check takes the sections that could be read (a broken one is None and was reported already), so
that one run finds everything that is wrong.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config_devices import Checkout, DeviceConfig
from agent.config_keys import Report
from agent.config_lane import Gateway, Lane, Tls
from agent.config_schema import Agent, Journal, Keys, PendingLimits, Policy, Wrapping
from agent.macs import pad_objection
from agent.private_file import open_to_others
from protocol.errors import AgentError, MacError
from protocol.profile import Profile
from protocol.secret import Key

ProfileLoader = Callable[[str, Sequence[Path | str]], Profile]

# sun_path of unix(7) is 108 bytes with its final zero.
SOCKET_PATH_BYTES_MAX = 107
PORT_MAX = 65_535
# HMAC-SHA256 with less than 128 bits of key would be the weak side of a closing.
BANK_KEY_BYTES_MIN = 16

DRIVERS = {"reader": ("ccid-serial", "ccid-usb", "neo2"), "pinpad": ("ipp",), "printer": ("escpos",)}


def check(parts: Mapping[str, Any], table: Mapping[str, Any], load_profile: ProfileLoader, report: Report) -> None:
    """Everything that concerns more than one key, or files beside this one.

    `parts`: the sections that could be read. `table`: the file itself; what a broken lane or device says of its
    name and profile is looked at too, so that one mistake neither hides another nor looks like two.
    """
    names = _Names(parts["devices"], [device.get("name") for _, device in _tables(table, "device")], report)
    _check_places(parts["agent"], parts["journal"], parts["keys"], report)
    _check_policy(parts["policy"], report)
    profiles = dict(_load_profiles(table, parts["profiles_directories"], load_profile, report))
    if table.get("lane", []) == []:
        report.add("lane", "there is no lane", "add one [[lane]] for each terminal id")
    for index, lane in _present(parts.get("lanes", ())):
        _check_lane(lane, f"lane[{index}]", names, report)
        if index in profiles:
            _check_against_profile(lane, profiles[index], f"lane[{index}]", report)
    for index, device in _present(parts["devices"]):
        _check_device(device, f"device[{index}]", report)
    _check_unique(table, "lane", "name", lambda lane: lane.get("name"), report)
    _check_unique(table, "lane", "terminal_id", _terminal, report)
    _check_unique(table, "device", "name", lambda device: device.get("name"), report)
    _check_unique(table, "device", "port", lambda device: str(device.get("port", "")).partition("?")[0], report)
    _check_checkout(parts["checkout"], names, report)
    lanes = {lane.get("name") for _, lane in _tables(table, "lane")}
    for index, gateway in _present(parts["gateways"]):
        _check_gateway(gateway, f"gateway[{index}]", lanes, report)
    for name in ("lane", "listen"):
        _check_unique(table, "gateway", name, _reader_of(name), report)


class _Names:
    """The devices by name."""

    def __init__(self, devices: Sequence[DeviceConfig | None], names: Iterable[object], report: Report) -> None:
        self._kinds = {device.name: device.kind for device in devices if device}
        self._names = sorted({name for name in names if isinstance(name, str)})
        self._report = report

    def expect(self, name: str, kind: str, where: str) -> None:
        """Report unless `name` is a device of that kind (a device that is broken itself counts)."""
        if name not in self._names:
            known = f"known devices: {', '.join(self._names)}" if self._names else "there is no [[device]]"
            self._report.add(where, f'there is no device "{name}"', known)
        elif self._kinds.get(name, kind) != kind:
            self._report.add(where, f'the device "{name}" is a {self._kinds[name]}', f"name a {kind}")


def _present(items: Sequence[Any | None]) -> Iterator[tuple[int, Any]]:
    return ((index, item) for index, item in enumerate(items) if item is not None)


def _tables(table: Mapping[str, Any], kind: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The raw tables of `[[kind]]`, whatever is wrong in them."""
    items = table.get(kind)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield index, item


def _terminal(lane: Mapping[str, Any]) -> object:
    """Merchant and terminal id together are what the host knows; nothing where one of them is missing."""
    merchant_id, terminal_id = lane.get("merchant_id"), lane.get("terminal_id")
    return f"{merchant_id}/{terminal_id}" if merchant_id and terminal_id else ""


def _check_unique(
    table: Mapping[str, Any], kind: str, key: str, identity: Callable[[Mapping[str, Any]], object], report: Report
) -> None:
    seen: dict[str, int] = {}
    for index, item in _tables(table, kind):
        own = identity(item)
        if isinstance(own, str) and own and seen.setdefault(own, index) != index:
            right = f"every {kind} needs its own; see {kind}[{seen[own]}]"
            report.add(f"{kind}[{index}].{key}", f"is used by another {kind} already", right)


def _load_profiles(
    table: Mapping[str, Any], directories: Sequence[Path], load_profile: ProfileLoader, report: Report
) -> Iterator[tuple[int, Profile]]:
    """The profile of each lane that has one."""
    for index, lane in _tables(table, "lane"):
        name = lane.get("profile")
        if not isinstance(name, str) or not name:
            continue
        try:
            yield index, load_profile(name, directories)
        except AgentError as error:
            report.add(f"lane[{index}].profile", error.text, error.hint or "name a profile that exists")


def _check_places(agent: Agent | None, journal: Journal | None, keys: Keys | None, report: Report) -> None:
    if agent and len(os.fsencode(agent.socket)) > SOCKET_PATH_BYTES_MAX:
        text = f"the path has {len(os.fsencode(agent.socket))} bytes"
        report.add("agent.socket", text, f"a socket's path may have {SOCKET_PATH_BYTES_MAX}: use a shorter run_dir")
    if journal and journal.path == journal.highwater:
        report.add("journal.highwater", "is the same file as journal.path", "give it a file of its own")
    if keys and keys.data_key_file.exists():  # where it does not, the first start makes it
        check_private(keys.data_key_file, "keys.data_key_file", report)
    for index, wrapping in enumerate(keys.wrappings if keys else ()):
        _check_wrapping(wrapping, keys, f"keys.wrapping[{index}]", report)


def _check_wrapping(wrapping: Wrapping, keys: Keys | None, where: str, report: Report) -> None:
    """What is not there now may come, a medium or a program on it: the start says so, and it is tried again."""
    given = [name for name in ("key_file", "credential", "program") if getattr(wrapping, name)]
    if len(given) != 1:
        said = f"gives {' and '.join(given)}" if given else "names no source"
        report.add(where, said, "give one of key_file, credential and program; a table for each source")
    file = wrapping.key_file
    if file and keys and file == keys.data_key_file:
        report.add(f"{where}.key_file", "is the same file as keys.data_key_file", "keep it on another medium")
    elif file and file.exists():
        check_private(file, f"{where}.key_file", report)
    if wrapping.program:
        _check_program(Path(wrapping.program[0]), f"{where}.program", report)


def _check_program(program: Path, where: str, report: Report) -> None:
    if not program.is_absolute():
        report.add(where, f'"{program}" is not absolute', "give the whole path; there is no shell and no search")
        return
    from agent.wrapping_program import objection  # only where there is one

    try:
        wrong = objection(program)
    except OSError:
        return
    if wrong:
        report.add(where, f"{program} {wrong}", "it must be executable, belong to root, and only root may write to it")


def _check_policy(policy: Policy | None, report: Report) -> None:
    limits = policy.while_pending if policy else None
    if isinstance(limits, PendingLimits) and not any(dataclasses.astuple(limits)):
        report.add("policy.while_pending", "no limit is given", 'give count, amount_minor or age_s, or say "warn"')
    key_file = policy.settle_bank_key_file if policy else None
    if key_file and check_private(key_file, "policy.settle_bank_key_file", report):
        try:
            read_bank_key(key_file)
        except ValueError:
            right = f"expected one line of at least {2 * BANK_KEY_BYTES_MIN} hexadecimal digits"
            report.add("policy.settle_bank_key_file", "holds no key", right)


def _check_lane(lane: Lane, where: str, names: _Names, report: Report) -> None:
    for index, host in enumerate(lane.hosts):
        if not 1 <= int(host.rpartition(":")[2]) <= PORT_MAX:
            report.add(f"{where}.hosts[{index}]", f'"{host}" has no possible port', f"a port is 1 to {PORT_MAX}")
    if len(set(lane.hosts)) != len(lane.hosts):
        report.add(f"{where}.hosts", "an address is given twice", "give each once, the preferred one first")
    if lane.tls:
        _check_tls(lane.tls, f"{where}.tls", report)
    if lane.pinpad:
        names.expect(lane.pinpad, "pinpad", f"{where}.pinpad")


def _check_against_profile(lane: Lane, profile: Profile, where: str, report: Report) -> None:
    _check_retry(lane, profile, where, report)
    _check_mac(lane, profile, where, report)
    _check_sign_on(lane, profile, where, report)


def _check_tls(tls: Tls, where: str, report: Report) -> None:
    if not tls.ca_file and not tls.system_ca and not tls.pin_sha256:
        wrong = "nothing says which host is the right one"
        report.add(where, wrong, "give ca_file, system_ca = true or pin_sha256; without them anybody could be the host")
    if tls.ca_file and tls.system_ca:
        report.add(f"{where}.system_ca", "stands beside ca_file", "choose one of them")
    if tls.client_key and not tls.client_certificate:
        report.add(f"{where}.client_key", "has no client_certificate", "give both or none")
    for name in ("ca_file", "client_certificate"):
        file = getattr(tls, name)
        if file and not os.access(file, os.R_OK):
            report.add(f"{where}.{name}", f"{file} cannot be read", "check path and rights")
    if tls.client_key:
        check_private(tls.client_key, f"{where}.client_key", report)


def _check_retry(lane: Lane, profile: Profile, where: str, report: Report) -> None:
    base_s = lane.retry.base_s if lane.retry.base_s is not None else profile.retry.base_s
    cap_s = lane.retry.cap_s if lane.retry.cap_s is not None else profile.retry.cap_s
    if cap_s < base_s:
        report.add(
            f"{where}.retry", f"cap_s ({cap_s:g}) is shorter than base_s ({base_s:g})", "raise cap_s or lower base_s"
        )


def _check_mac(lane: Lane, profile: Profile, where: str, report: Report) -> None:
    if lane.mac != "none" and profile.mac.algorithm == "none":
        report.add(
            f"{where}.mac", f'the profile "{lane.profile}" knows no MAC', 'say mac = "none" or change the profile'
        )
    elif lane.mac == "software":
        _check_software_mac(lane, where, report)
    elif lane.mac == "pinpad":
        _check_pinpad_mac(lane, profile, where, report)


def _check_software_mac(lane: Lane, where: str, report: Report) -> None:
    if lane.mac_key_file is not None:
        _check_key_file(lane.mac_key_file, f"{where}.mac_key_file", report)
    elif not lane.sign_on:
        report.add(f"{where}.mac_key_file", "is missing", 'mac = "software" needs it')


def _check_key_file(file: Path, where: str, report: Report) -> None:
    if check_private(file, where, report):
        try:
            read_key_file(file)
        except ValueError:
            report.add(where, "holds no key", "expected one line of 16, 32 or 48 hexadecimal digits")


def _check_sign_on(lane: Lane, profile: Profile, where: str, report: Report) -> None:
    if lane.master_key_file is not None:
        _check_key_file(lane.master_key_file, f"{where}.master_key_file", report)
    if not lane.sign_on:
        return
    if "sign-on" not in profile.session.messages:
        wrong = f'the profile "{lane.profile}" has no sign-on'
        report.add(f"{where}.sign_on", wrong, "say sign_on = false, or add [session.messages.sign-on] to the profile")
    if lane.mac == "software" and profile.session.keys_field and lane.master_key_file is None:
        report.add(
            f"{where}.master_key_file", "is missing", 'mac = "software" with sign_on = true takes the keys under it'
        )


def _check_pinpad_mac(lane: Lane, profile: Profile, where: str, report: Report) -> None:
    if not lane.pinpad:
        report.add(f"{where}.pinpad", "is missing", 'mac = "pinpad" needs the name of the device')
    if not lane.mac_key and not lane.sign_on:
        report.add(f"{where}.mac_key", "is missing", 'mac = "pinpad" needs the working key under the master key')
    try:
        objection = pad_objection(profile.mac, lane.mac_key) if lane.mac_key else ""
    except MacError as error:
        objection = error.text
    if objection:
        wrong = f'the PIN pad cannot make the MAC of profile "{lane.profile}": {objection}'
        report.add(f"{where}.mac", wrong, "use another profile or key length, or on the bench the software MAC")


def _check_device(device: DeviceConfig, where: str, report: Report) -> None:
    drivers = DRIVERS[device.kind]
    if device.driver not in drivers:
        expected = " or ".join(f'"{name}"' for name in drivers)
        report.add(f"{where}.driver", f'"{device.driver}" does not drive a {device.kind}', f"use {expected}")


def _check_checkout(checkout: Checkout | None, names: _Names, report: Report) -> None:
    for kind in ("reader", "pinpad", "printer"):
        name = getattr(checkout, kind, "")
        if name:
            names.expect(name, kind, f"checkout.{kind}")


def _reader_of(name: str) -> Callable[[Mapping[str, Any]], object]:
    """Reads one key of a raw table."""
    return lambda item: item.get(name)


def _check_gateway(gateway: Gateway, where: str, lanes: set[object], report: Report) -> None:
    if gateway.lane not in lanes:
        report.add(f"{where}.lane", f'there is no lane "{gateway.lane}"', "name a [[lane]]")
    if not 1 <= int(gateway.listen.rpartition(":")[2]) <= PORT_MAX:
        report.add(f"{where}.listen", f'"{gateway.listen}" has no possible port', f"a port is 1 to {PORT_MAX}")
    for index, client in enumerate(gateway.clients):
        try:
            ipaddress.ip_network(client)
        except ValueError:
            report.add(f"{where}.clients[{index}]", f'"{client}" is no address or network', 'e.g. "192.0.2.0/28"')


# --- files with keys ---------------------------------------------------------------------------


def check_private(file: Path, where: str, report: Report) -> bool:
    """Whether `file` is a readable regular file that only its owner may use; reported where not."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        report.add(where, f"{file} cannot be used: {error.strerror}", "check path and rights")
        return False
    if not stat.S_ISREG(mode):
        report.add(where, f"{file} is no regular file", "name a file")
    elif open_to_others(file, mode):
        report.add(where, f"{file} has mode {stat.S_IMODE(mode):04o}: others may read it", f"chmod 0600 {file}")
    elif not os.access(file, os.R_OK):
        report.add(where, f"{file} cannot be read", "it must belong to the daemon's user")
    else:
        return True
    return False


def read_bank_key(file: Path) -> bytes:
    """The key that checks the bank's codes. Raises ValueError without repeating any of it."""
    try:
        key = bytes.fromhex(file.read_text("ascii"))
    except (ValueError, OSError):
        key = b""
    if len(key) < BANK_KEY_BYTES_MIN:
        raise ValueError(f"{file} holds no key")
    return key


def read_key_file(file: Path) -> Key:
    """The key of a file with one line of hexadecimal digits. Raises ValueError without repeating any of it."""
    try:
        key = bytes.fromhex(file.read_text("ascii"))
    except (ValueError, OSError):
        key = b""
    if len(key) not in (8, 16, 24):  # single DES, double and triple length
        raise ValueError(f"{file} holds no key")
    return Key(key)
