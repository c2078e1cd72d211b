"""Looks the machine over before something fails: each check passes, warns or fails, and says what to do.

A check is a function of `Bench` (what it may look at) that gives findings; `run` calls them all. Texts stand in the
catalogue under [check.*]. Nothing is changed, no sale is made; devices and echo are asked of the running agent.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from agent.alerts import PAPER_LOW
from agent.config_schema import Configuration
from agent.power import SYSFS, Power, power
from agent.private_file import open_to_others
from agent.said import coded, said
from agent.status_text import signed
from agent.texts import Text
from agent.texts_operations import operations
from protocol.frozen import dataclass
from protocol.masking import scrub

Result = Literal["pass", "warn", "fail"]

# A clock before this stands wrong for certain: this release did not exist then.
RELEASED = datetime(2025, 1, 1, tzinfo=UTC)
# Where the Debian package puts them; a file of the same name under /etc takes its place, so that is looked at first.
PACKAGED_RULES = Path("/usr/lib/udev/rules.d/70-pos-devices.rules")
# Made by systemd-timesyncd, and by chrony's and ntpd's units, when the clock is synchronised (systemd.time-wait-sync).
SYNCHRONISED = (Path("/run/systemd/timesync/synchronized"), Path("/run/chrony"), Path("/run/ntpd.pid"))


NOTHING = Text("", "")


class NotPossible(Exception):
    """The agent cannot do this here (the dialect has no echo)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result. `subject`: which device, lane or file. `seen`: what was seen, safe to show."""

    code: str
    result: Result
    subject: str = ""
    seen: Text = NOTHING

    @property
    def title(self) -> Text:
        """What was checked."""
        return operations().checks[self.code].title.fill({"subject": self.subject})

    @property
    def text(self) -> Text:
        """What was seen."""
        texts = operations().checks[self.code]
        filled = (texts.ok if self.result == "pass" else texts.bad).fill({"seen": self.seen, "subject": self.subject})
        return Text(scrub(filled.en), scrub(filled.zh))

    @property
    def action(self) -> Text:
        """What to do; empty where all is well."""
        if self.result == "pass":
            return Text("", "")
        return operations().checks[self.code].action.fill({"subject": self.subject})

    def document(self) -> dict[str, str]:
        """For machines."""
        told = {"code": self.code, "subject": self.subject, "result": self.result}
        for name in ("title", "text", "action"):
            text: Text = getattr(self, name)
            told |= {f"{name}_en": text.en, f"{name}_zh": text.zh}
        return told


@dataclass(frozen=True, slots=True)
class Bench:
    """What a self test may look at. `call` None: the agent does not answer (`why_not`)."""

    configuration: Configuration | None
    problem: str
    status: Mapping[str, Any] | None
    call: Callable[..., Any] | None
    why_not: str
    now_utc: datetime
    connect: Callable[[str], float]  # seconds to connect to "host:port"; raises OSError
    read_power: Callable[[Path], Power] = power
    shipped_rules: Path | None = None
    synchronised: Sequence[Path] = SYNCHRONISED
    print_test: bool = True  # a printer's own test prints a line


def run(bench: Bench) -> Iterator[Finding]:
    """All checks, as they end."""
    for check in _CHECKS:
        yield from check(bench)


def worst(findings: Sequence[Finding]) -> Result:
    """The worst result."""
    results = {finding.result for finding in findings}
    return "fail" if "fail" in results else "warn" if "warn" in results else "pass"


# --- the checks, in the order in which a person would look -------------------------------------


def _configuration(bench: Bench) -> Iterator[Finding]:
    yield Finding("T-CONFIG", "pass" if bench.configuration else "fail", "", _quoted(bench.problem))


def _agent(bench: Bench) -> Iterator[Finding]:
    if bench.call is None or bench.status is None:
        yield Finding("T-AGENT", "fail", "", _quoted(bench.why_not))
        return
    yield Finding("T-AGENT", "pass", "", _quoted(f"{bench.status['agent']['version']}"))
    impact = bench.status["impact"]
    amounts = ", ".join(amount["text"] for amount in impact["amounts"])
    owed = _quoted(f"{impact['owed']} ({amounts})")
    yield Finding("T-OPEN", ("fail" if impact["parked"] else "warn") if impact["owed"] else "pass", "", owed)


def _store(bench: Bench) -> Iterator[Finding]:
    if bench.status is None:
        return
    store = bench.status["store"]
    told = "; ".join(store["warnings"]) or f"p99 {store['commit_p99_ms']:.1f} ms"
    yield Finding("T-STORE", "warn" if store["warnings"] else "pass", "", _quoted(told))


def _disk(bench: Bench) -> Iterator[Finding]:
    if bench.configuration is None:
        return
    directory = bench.configuration.agent.state_dir
    if not directory.exists():
        yield Finding("T-RIGHTS", "fail", str(directory), _quoted("ENOENT"))
        return
    free = shutil.disk_usage(directory).free
    reserve, low = bench.configuration.journal.reserve_bytes, bench.configuration.alerts.disk_free_bytes
    result: Result = "fail" if free < reserve else "warn" if free < low else "pass"
    yield Finding("T-DISK", result, "", _quoted(f"{free / 1e6:.0f} MB"))


def _clock(bench: Bench) -> Iterator[Finding]:
    """Against this release, the items, each host, the time service."""
    if bench.now_utc < RELEASED:
        yield Finding("T-CLOCK", "fail", "", _seen("early"))
        return
    behind = [item for item in (bench.status or {}).get("items", ()) if item["age_s"] is None]
    if behind:
        yield Finding("T-CLOCK", "fail", "", _quoted(f"{behind[0]['id']} {behind[0]['begun_utc']}"))
        return
    compared = list(_host_clocks(bench))
    yield from compared
    if compared:
        return  # a host that agrees says more than a service that believes itself
    if any(path.exists() for path in bench.synchronised):
        yield Finding("T-CLOCK", "pass", "", _seen("synchronised"))
        return
    service = bench.synchronised[0].parent.exists() if bench.synchronised else False
    yield Finding("T-CLOCK", "warn", "", _seen("not-synchronised" if service else "unknown-clock"))


def _host_clocks(bench: Bench) -> Iterator[Finding]:
    """Each lane whose host has told its time (agent/host_clock.py)."""
    if bench.configuration is None:
        return
    rules = bench.configuration.selftest
    for lane, told in _fresh_status(bench).get("watch", {}).get("host_clock", {}).items():
        apart_s = abs(told["offset_s"])
        result: Result = "fail" if apart_s > rules.clock_fail_s else "warn" if apart_s > rules.clock_warn_s else "pass"
        yield Finding("T-CLOCK", result, lane, _seen("host-clock", seconds=signed(told["offset_s"]), lane=lane))


def _fresh_status(bench: Bench) -> Mapping[str, Any]:
    """The echo has just brought a time: the status of the beginning does not know it."""
    try:
        fresh: Mapping[str, Any] = bench.call("agent.status") if bench.call is not None else {}
    except NotPossible:
        fresh = {}
    return fresh or bench.status or {}


def _power(bench: Bench) -> Iterator[Finding]:
    seen = bench.read_power(bench.configuration.selftest.power_supply if bench.configuration else SYSFS)
    if not seen.known:
        yield Finding("T-POWER", "pass", "", _seen("no-sensor"))
        return
    percent = "" if seen.percent is None else f" {seen.percent} %"
    limit = bench.configuration.selftest.battery_percent if bench.configuration else 0
    low = seen.on_battery and seen.percent is not None and seen.percent < limit
    text = _seen("battery" if seen.on_battery else "mains") + Text(percent, percent)
    yield Finding("T-POWER", "fail" if low else "warn" if seen.on_battery else "pass", "", text)


def _devices(bench: Bench) -> Iterator[Finding]:
    if bench.configuration is None:
        return
    if bench.call is None:
        yield from (Finding("T-DEVICE", "warn", one.name, _seen("no-agent")) for one in bench.configuration.devices)
        return
    for device in bench.call("device.list")["devices"] if bench.configuration.devices else ():
        if device["inhibited_because"]:
            yield Finding("T-DEVICE", "warn", device["name"], _quoted(device["inhibited_because"]))
        elif device["kind"] == "printer" and not bench.print_test:
            yield from _printer_at_rest(device)
        else:
            yield from _tested(device, bench.call)


def _tested(device: Mapping[str, Any], call: Callable[..., Any]) -> Iterator[Finding]:
    """What its own test says. Who may only look does not test, and learns about the rest all the same."""
    name = device["name"]
    try:
        told = call("device.test", name=name)
    except NotPossible as refusal:
        yield Finding("T-DEVICE", "warn", name, said(str(refusal)))
        return
    error = told["error"]
    text = _quoted(told["seen"]) if error is None else said(coded(error["code"], error["text"]))
    yield Finding("T-DEVICE", "pass" if told["passed"] else "fail", name, text)
    if device["kind"] == "printer":
        detail = told["device"]["detail"] if isinstance(told["device"], dict) else ""
        yield Finding("T-PAPER", _paper(detail), name, _quoted(detail))


def _printer_at_rest(device: Mapping[str, Any]) -> Iterator[Finding]:
    """What the printer says of itself without printing anything."""
    ready = device["state"] in ("ready", "busy")
    error = coded(device["last_error_code"], device["last_error"])
    yield Finding("T-DEVICE", "pass" if ready else "fail", device["name"], said(device["detail"] if ready else error))
    yield Finding("T-PAPER", _paper(device["detail"]), device["name"], said(device["detail"]))


def _paper(detail: str) -> Result:
    return "warn" if detail in PAPER_LOW else "fail" if "paper" in detail.split() else "pass"


def _links(bench: Bench) -> Iterator[Finding]:
    """Each host takes a connection; where the dialect has an echo, the host answers it."""
    for lane in bench.configuration.lanes if bench.configuration else ():
        for host in lane.hosts:
            try:
                seconds = bench.connect(host)
            except OSError as error:
                why = _quoted(error.strerror or type(error).__name__)
                yield Finding("T-LINK", "fail", f"{lane.name} {host}", why)
            else:
                yield Finding("T-LINK", "pass", f"{lane.name} {host}", _seen("connects", ms=f"{1000 * seconds:.0f}"))
        yield from _echo(bench, lane.name)


def _echo(bench: Bench, lane: str) -> Iterator[Finding]:
    if bench.call is None:
        return
    try:
        answer = bench.call("session.echo", lane=lane)
    except NotPossible:
        return
    text = _seen("echo", ms=str(answer["round_trip_ms"])) if answer["answered"] else _quoted(answer["text"])
    yield Finding("T-LINK", "pass" if answer["answered"] else "fail", f"{lane} echo", text)


def _certificates(bench: Bench) -> Iterator[Finding]:
    for lane in (bench.status or {}).get("lanes", ()):
        days = (lane["link"] or {}).get("certificate_days")
        if days is not None and bench.configuration is not None:
            limit = bench.configuration.alerts.certificate_days
            result: Result = "fail" if days <= 3 else "warn" if days <= limit else "pass"
            yield Finding("T-CERTIFICATE", result, lane["name"], _quoted(str(days)))


def _keys(bench: Bench) -> Iterator[Finding]:
    if bench.configuration is None:
        return
    files = [bench.configuration.keys.data_key_file, bench.configuration.policy.settle_bank_key_file]
    files += [lane.mac_key_file for lane in bench.configuration.lanes]
    files += [lane.tls.client_key for lane in bench.configuration.lanes if lane.tls]
    # A medium that is not there is for the check of the sources: one that is not needed may be missing.
    files += [one.key_file for one in bench.configuration.keys.wrappings if one.key_file and one.key_file.exists()]
    for file in dict.fromkeys(path for path in files if path is not None):
        yield _private(file, "T-KEYS")


def _key_source(bench: Bench) -> Iterator[Finding]:
    """Whether the next start could open the data keys: the agent tries it, with the program where there is one."""
    if bench.configuration is None or not bench.configuration.keys.wrappings:
        return
    if bench.call is None:
        yield Finding("T-WRAPPING", "warn", "", _seen("no-agent"))
        return
    try:
        told = bench.call("keys.check")
    except NotPossible as error:
        yield Finding("T-WRAPPING", "warn", "", _quoted(str(error)))
        return
    if told["problem"]:
        yield Finding("T-WRAPPING", "fail", "", said(told["problem"]))
    elif told["under"] != told["wanted"]:
        yield Finding("T-WRAPPING", "warn", "", _seen("not-wrapped", source=said(told["wanted"])))
    else:
        yield Finding("T-WRAPPING", "pass", "", _seen("reached", source=said(told["under"])))


def _rights(bench: Bench) -> Iterator[Finding]:
    if bench.configuration is None:
        return
    yield _private(bench.configuration.agent.state_dir, "T-RIGHTS")
    yield _not_writable(bench.configuration.source)


def _private(path: Path, code: str) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return Finding(code, "fail", str(path), _quoted(error.strerror or ""))
    if open_to_others(path, mode):
        return Finding(code, "fail", str(path), _quoted(f"mode {mode:04o}"))
    return Finding(code, "pass", str(path), _seen("private"))


def _not_writable(path: Path) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return Finding("T-RIGHTS", "fail", str(path), _quoted(error.strerror or ""))
    return Finding("T-RIGHTS", "fail" if mode & 0o002 else "pass", str(path), _quoted(f"mode {mode:04o}"))


def _udev(bench: Bench) -> Iterator[Finding]:
    """Fixed names: the links that the configuration names exist, and the rules are those of this release."""
    if bench.configuration is None:
        return
    named = [one for one in bench.configuration.devices if one.port.startswith("serial:/dev/pos/")]
    if not named:
        yield Finding("T-UDEV", "pass", "", _seen("no-serial"))
        return
    known = (bench.configuration.selftest.udev_rules, PACKAGED_RULES)
    installed = next((path for path in known if path.exists()), None)
    if installed is None:
        yield Finding("T-UDEV", "warn", "", _seen("not-installed"))
    elif bench.shipped_rules and installed.read_bytes() != bench.shipped_rules.read_bytes():
        yield Finding("T-UDEV", "warn", "", _seen("old-rules"))
    paths = [one.port.removeprefix("serial:").partition("?")[0] for one in named]
    missing = [path for path in paths if not os.path.exists(path)]
    yield Finding("T-UDEV", "fail" if missing else "pass", "", _quoted(", ".join(missing or paths)))


_CHECKS: tuple[Callable[[Bench], Iterator[Finding]], ...] = (
    *(
        _configuration,
        _rights,
        _keys,
        _key_source,
        _agent,
        _store,
        _disk,
        _power,
        _udev,
        _devices,
        _links,
        _clock,
        _certificates,
    ),
)


def _quoted(text: str) -> Text:
    return Text(text, text)


def _seen(name: str, **values: str | Text) -> Text:
    return operations().words["seen"][name].fill(values)
