"""Tries a configuration before it is put in place: the real daemon, with a journal of its own that is thrown away.

Nothing is sold. What is looked at: does the daemon start with it, does each device answer, is the MAC key the bank's,
does each host take a connection, answer an echo where the dialect has one, and take the lane's sign-on. The daemon runs
as its own user where it can, so that missing rights on a device show here and not in the night.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agent import config as settings
from agent.client import AgentClient, ApiError
from agent.provision import USER, ProvisionError
from agent.said import coded
from protocol.frozen import dataclass
from protocol.masking import scrub

START_S = 30.0
STOP_S = 15.0
CALL_S = 60.0
CONNECT_S = 5.0
# A reader or PIN pad that is there opens within this. Assumed.
DEVICE_S = 10.0
LOOK_EVERY_S = 0.05
# Time and level before a line of the log.
_LOG_HEAD = re.compile(r"^\S+ \S+ [A-Z]+ +")
# A device's state when it is in service (docs/devices.md).
READY = "ready"


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was tried: `what` of `which` (a key of agent/cli_provision.py's words, and a name or address)."""

    what: str
    which: str
    passed: bool
    text: str


def trial(render: Callable[[str, str], str], key_check: str = "") -> list[Seen]:
    """`render(state_dir, run_dir)` gives the configuration's text; `key_check`: as far as the bank gave it, the check
    value of the MAC key. Raises ProvisionError where nothing can be tried.
    """
    with tempfile.TemporaryDirectory(prefix="provision-") as name:
        directory = Path(name)
        draft = directory / "reversald.toml"
        draft.write_text(render(str(directory / "state"), str(directory / "run")), encoding="utf-8")
        options = _as_the_daemons_user(directory, draft)
        configuration = settings.load(draft)
        with _running(draft, directory / "log", options) as process:
            agent = AgentClient(configuration.agent.socket, CALL_S)
            why = _answers(agent, process, directory / "log")
            if why:
                return [Seen("daemon", "", False, why)]
            with agent:
                return [
                    Seen("daemon", "", True, "starts"),
                    *_devices(agent, configuration),
                    *_keys(agent, configuration, key_check.upper()),
                    *_hosts(agent, configuration),
                ]


def _as_the_daemons_user(directory: Path, draft: Path) -> dict[str, Any]:
    """Options of the process; the directory is given to its user."""
    draft.chmod(0o600)
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return {}
    if os.geteuid() != 0:
        return {}
    for path in (directory, draft):
        os.chown(path, user.pw_uid, user.pw_gid)
    groups = os.getgrouplist(USER, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}


@contextlib.contextmanager
def _running(draft: Path, log: Path, options: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "agent", "--config", str(draft)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment, cwd="/", **options
            )
        except OSError as error:
            raise ProvisionError(f"the daemon cannot be started: {error.strerror}") from None
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(agent: AgentClient, process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits until the daemon answers; why it does not, or nothing."""
    deadline = time.clock_gettime(time.CLOCK_MONOTONIC) + START_S
    while True:
        try:
            agent.call("agent.status", {})
            return ""
        except ApiError as error:
            if process.poll() is not None or time.clock_gettime(time.CLOCK_MONOTONIC) > deadline:
                last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                return scrub(_LOG_HEAD.sub("", " ".join(last)) or error.text)
            time.sleep(LOOK_EVERY_S)


def _devices(agent: AgentClient, configuration: settings.Configuration) -> Iterator[Seen]:
    deadline = time.clock_gettime(time.CLOCK_MONOTONIC) + DEVICE_S
    for device in configuration.devices:
        view = _opened(agent, device.name, deadline)
        if view["state"] != READY:
            told = coded(view["last_error_code"], view["last_error"]) or view["state"]
            yield Seen(device.kind, device.port, False, scrub(told))
            continue
        result = agent.call("device.test", {"name": device.name})
        error = result["error"]
        text = result["seen"] if error is None else coded(error["code"], error["text"])
        yield Seen(device.kind, device.port, bool(result["passed"]), scrub(text))


def _opened(agent: AgentClient, name: str, deadline: float) -> dict[str, Any]:
    """A device as it is when it is in service, or at the deadline: all open at the same time."""
    while True:
        devices: Sequence[dict[str, Any]] = agent.call("device.list", {})["devices"]
        view = next(one for one in devices if one["name"] == name)
        if view["state"] == READY or time.clock_gettime(time.CLOCK_MONOTONIC) > deadline:
            return view
        time.sleep(LOOK_EVERY_S)


def _keys(agent: AgentClient, configuration: settings.Configuration, wanted: str) -> Iterator[Seen]:
    """The MAC keys that stand in the configuration; those of a sign-on prove themselves."""
    for lane in configuration.lanes:
        if lane.mac == "none" or lane.sign_on:
            continue
        try:
            value = str(agent.call("session.key_check", {"lane": lane.name})["value"])
        except ApiError as error:
            yield Seen("key", lane.name, False, scrub(coded(error.code, error.text)))
            continue
        fits = value.startswith(wanted)
        other = "" if fits else f", the bank's is {wanted}: key or master key is another one"
        yield Seen("key", lane.name, fits, f"check value {value or 'unknown'}{other}")


def _hosts(agent: AgentClient, configuration: settings.Configuration) -> Iterator[Seen]:
    for lane in configuration.lanes:
        for host in lane.hosts:
            yield _connected(host)
        yield from _echo(agent, lane.name)
        if lane.sign_on:
            yield _signed_on(agent, lane.name)


def _connected(host: str) -> Seen:
    try:
        with socket.create_connection(settings.split_host(host), CONNECT_S):
            return Seen("host", host, True, "connects")
    except OSError as error:
        return Seen("host", host, False, error.strerror or type(error).__name__)
    except UnicodeError:  # a part of the name is empty or too long
        return Seen("host", host, False, "not a possible name")


def _echo(agent: AgentClient, lane: str) -> Iterator[Seen]:
    try:
        answer = agent.call("session.echo", {"lane": lane})
    except ApiError as error:
        if error.code != "A-NO-ECHO":
            yield Seen("echo", lane, False, scrub(coded(error.code, error.text)))
        return
    yield Seen("echo", lane, bool(answer["answered"]), scrub(str(answer["text"])))


def _signed_on(agent: AgentClient, lane: str) -> Seen:
    """Terminal, merchant and master key are those that the host knows."""
    try:
        session = agent.call("session.sign_on", {"lane": lane})
    except ApiError as error:
        return Seen("sign-on", lane, False, scrub(coded(error.code, error.text)))
    if not session["signed_on"]:
        return Seen("sign-on", lane, False, scrub(str(session["last_error"])))
    value = session["key_check_value"]
    return Seen("sign-on", lane, True, f"signed on, check value of the MAC key {value}" if value else "signed on")
