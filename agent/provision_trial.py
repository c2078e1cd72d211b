"""Tries a configuration before it is put in place: the real daemon, with a journal of its own that is thrown away.

Nothing is sold. What is looked at: does the daemon start with it, does each device answer, does each host take a
connection, and does it answer an echo where the dialect has one. The daemon runs as its own user where it can, so
that missing rights on a device show here and not in the night.
"""

from __future__ import annotations

import contextlib
import os
import pwd
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
from protocol.frozen import dataclass
from protocol.masking import scrub

START_S = 30.0
STOP_S = 15.0
CALL_S = 60.0
CONNECT_S = 5.0
# A reader or PIN pad that is there opens within this. Assumed.
DEVICE_S = 10.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was tried."""

    what: str
    passed: bool
    text: str


def trial(render: Callable[[str, str], str]) -> list[Seen]:
    """`render(state_dir, run_dir)` gives the configuration's text. Raises ProvisionError where nothing can be tried."""
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
                return [Seen("reversald", False, why)]
            with agent:
                return [
                    Seen("reversald", True, "starts"),
                    *_devices(agent, configuration),
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
                return scrub(" ".join(last) or error.text)
            time.sleep(LOOK_EVERY_S)


def _devices(agent: AgentClient, configuration: settings.Configuration) -> Iterator[Seen]:
    for device in configuration.devices:
        what = f"{device.kind} {device.port}"
        if not _in_service(agent, device.name):
            view = _view(agent, device.name)
            yield Seen(what, False, scrub(str(view.get("error") or view.get("state_en") or "not in service")))
            continue
        told = agent.call("device.test", {"name": device.name})
        error = told["error"]
        yield Seen(
            what, bool(told["passed"]), scrub(told["seen"] if error is None else f"{error['code']} {error['text']}")
        )


def _in_service(agent: AgentClient, name: str) -> bool:
    deadline = time.clock_gettime(time.CLOCK_MONOTONIC) + DEVICE_S
    while not _view(agent, name).get("usable"):
        if time.clock_gettime(time.CLOCK_MONOTONIC) > deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def _view(agent: AgentClient, name: str) -> dict[str, Any]:
    devices: Sequence[dict[str, Any]] = agent.call("device.list", {})["devices"]
    return next((one for one in devices if one["name"] == name), {})


def _hosts(agent: AgentClient, configuration: settings.Configuration) -> Iterator[Seen]:
    for lane in configuration.lanes:
        for host in lane.hosts:
            yield _connected(host)
        yield from _echo(agent, lane.name)


def _connected(host: str) -> Seen:
    try:
        with socket.create_connection(settings.split_host(host), CONNECT_S):
            return Seen(f"host {host}", True, "connects")
    except OSError as error:
        return Seen(f"host {host}", False, error.strerror or type(error).__name__)
    except UnicodeError:  # a part of the name is empty or too long
        return Seen(f"host {host}", False, "not a possible name")


def _echo(agent: AgentClient, lane: str) -> Iterator[Seen]:
    try:
        answer = agent.call("session.echo", {"lane": lane})
    except ApiError as error:
        if error.code != "A-NO-ECHO":
            yield Seen(f"echo {lane}", False, scrub(f"{error.code} {error.text}"))
        return
    yield Seen(f"echo {lane}", bool(answer["answered"]), scrub(str(answer["text"])))
