"""The agent as a process beside the simulators: start, kill, ask. Knows its command and its API, not its code."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from protocol.errors import AgentError

START_S = 20.0
CALL_S = 60.0
STOP_S = 15.0
LOG_LINE = re.compile(r"^\S+ \S+ (\w+)\s+(.*)$")
# Log lines of the daemon that say how the work goes; the rest is for the log file.
TOLD = re.compile(r"^(\S+-\d+ \S+ \S+: \w+|lane |ready:|.*E-)")


class DemoError(AgentError):
    """Something on the bench did not go as it must."""

    code = "E-BENCH-AGENT"


class AgentProcess:
    """`reversald` with one configuration file. As a context manager it is stopped at the end.

    `environment`: what every start adds to this process's own.
    """

    def __init__(self, configuration: Path, directory: Path, environment: dict[str, str] | None = None) -> None:
        self.environment = environment or {}
        self.configuration = configuration
        self.run_dir = directory / "run"
        self.log_file = directory / "reversald.log"
        self._socket_path = self.run_dir / "agent.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_read = 0
        self._open_calls: list[socket.socket] = []

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    # --- life ----------------------------------------------------------------------------------

    def start(self, environment: dict[str, str] | None = None) -> None:
        """Start it and wait until it answers. Raises DemoError."""
        self.spawn(environment)
        deadline = time.monotonic() + START_S
        while True:
            assert self._process is not None
            if self._process.poll() is not None:
                raise DemoError(f"the daemon ended with {self._process.returncode}", f"see {self.log_file}")
            try:
                self.call("agent.status", {})
                return
            except DemoError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def spawn(self, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        command = [sys.executable, "-m", "agent", "--config", str(self.configuration)]
        variables = {**_inherited(), **self.environment, **(environment or {})}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables)
        return self._process

    @property
    def pid(self) -> int:
        """Of the running daemon."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: the process has no chance to do anything any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_S)
        self._hang_up()

    def stop(self) -> int:
        """SIGTERM, and wait; its exit status."""
        self._hang_up()
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_S)
        return self._process.returncode

    def wait(self, seconds: float = STOP_S) -> int:
        """Until it has ended by itself; its exit status. Raises DemoError."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the daemon still runs after {seconds:g} s", f"see {self.log_file}") from None

    def _hang_up(self) -> None:
        for channel in self._open_calls:
            channel.close()
        self._open_calls.clear()

    # --- questions -----------------------------------------------------------------------------

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """One JSON-RPC call. Raises DemoError with what the daemon answered."""
        with self._dial(method, params) as channel:
            line = _line(channel)
        answer = json.loads(line) if line else {"error": {"message": "the daemon hung up"}}
        if "error" in answer:
            error: dict[str, Any] = answer["error"]
            data: dict[str, Any] = error.get("data", {})
            raise DemoError(f"{method}: {data.get('code', '')} {error['message']}", str(data.get("hint", "")))
        return answer["result"]

    def send_only(self, method: str, params: dict[str, Any]) -> None:
        """Send a call and do not wait for its answer."""
        self._open_calls.append(self._dial(method, params))

    def _dial(self, method: str, params: dict[str, Any]) -> socket.socket:
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n"
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.settimeout(CALL_S)
            channel.connect(str(self._socket_path))
            channel.sendall(request.encode())
        except OSError as error:
            channel.close()
            raise DemoError(f"the daemon does not answer: {error.strerror}", f"see {self.log_file}") from None
        return channel

    # --- what it leaves ------------------------------------------------------------------------

    def status_text(self) -> str:
        """status.txt as it stands."""
        return (self.run_dir / "status.txt").read_text(encoding="utf-8")

    def status(self) -> dict[str, Any]:
        """status.json as it stands."""
        found: dict[str, Any] = json.loads((self.run_dir / "status.json").read_text(encoding="utf-8"))
        return found

    def new_log_lines(self) -> list[str]:
        """What the daemon has said since the last look, the telling lines only."""
        if not self.log_file.exists():
            return []
        with self.log_file.open("rb") as log:
            log.seek(self._log_read)
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._log_read += len(whole)
        lines = (LOG_LINE.match(line) for line in whole.decode("utf-8", "replace").splitlines())
        return [match[2] for match in lines if match and TOLD.match(match[2])]


def _inherited() -> dict[str, str]:
    """Our environment, but let the daemon keep its compiled modules: without them each start takes twice as long."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _line(channel: socket.socket) -> bytes:
    data = bytearray()
    try:
        while not data.endswith(b"\n"):
            piece = channel.recv(65536)
            if not piece:
                break
            data += piece
    except OSError as error:
        raise DemoError(f"the daemon does not answer: {error.strerror or 'time-out'}") from None
    return bytes(data)
