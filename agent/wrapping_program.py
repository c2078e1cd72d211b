"""A program that wraps and unwraps: the way to a secure element, a TPM or a token, whose driver is not ours.

One line on its standard input, one line on its standard output, base64 both; it ends with 0:

    wrap KEY        32 bytes: gives the token that the element makes of them, 1 to 4096 bytes
    unwrap TOKEN    gives the 32 bytes

Other exit statuses (sysexits.h): 65 another key or element wrapped this, 69 or 75 the element is not there, 77 it
refuses (PIN, locked); anything else is a failure.

Rules not to break:

1. No key in arguments or environment, no shell, no file. What it says on standard error is never read: it could hold
   what it was given.
2. Whatever it does (hang, flood, crash, fork), we go on after `timeout_s`, and no process of its group is left.
3. A program that others than root and we could have written is not run.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from agent.clock import Clock
from agent.key_material import KEY_BYTES
from agent.key_wrapper import TOKEN_BYTES_MAX
from agent.vault_error import VaultError

LABEL = "program"
# The longest token in base64, and the end of the line.
ANSWER_BYTES_MAX = 4 * -(-TOKEN_BYTES_MAX // 3) + 2
HINT = "the program's interface, and how to try it by hand: docs/security.md"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# sysexits.h
_MEANING = {
    os.EX_DATAERR: "says that another key or element wrapped this",
    os.EX_UNAVAILABLE: "says that its secure element is not there",
    os.EX_TEMPFAIL: "says that its secure element is not there now",
    os.EX_NOPERM: "says that its secure element refuses",
}


class _Failed(Exception):
    """In a few words that hold nothing of what the program said."""


class WrappingProgram:
    """A `KeyWrapper` (agent/key_wrapper.py). `command`: absolute path and arguments."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        self._command = tuple(command)
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """Kind and place."""
        return f"wrapping program {self._command[0]}"

    def fits(self, label: str) -> bool:
        """Of any program; whether it is this one is seen when it is asked."""
        return label == LABEL

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        """Raises VaultError."""
        return LABEL, self._ask(b"wrap", key)

    def unwrap(self, label: str, token: bytes) -> bytes:
        """Raises VaultError."""
        key = self._ask(b"unwrap", token)
        if len(key) != KEY_BYTES:
            raise VaultError(f"{self.name} gave {len(key)} bytes for a key of {KEY_BYTES}", HINT)
        return key

    def _ask(self, verb: bytes, data: bytes) -> bytes:
        try:
            wrong = objection(Path(self._command[0]))
            if wrong:
                raise VaultError(f"{self.name} {wrong}", "it must belong to root, and only root may write to it")
            return _decoded(self._run(verb + b" " + base64.b64encode(data) + b"\n"))
        except OSError as error:
            raise VaultError(f"{self.name} cannot be started: {error.strerror}", HINT) from error
        except _Failed as failed:
            raise VaultError(f"{self.name} {failed}", HINT) from None

    def _run(self, request: bytes) -> bytes:
        deadline = _now() + self._timeout_s
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            bufsize=0,
        )
        try:
            answer = _talk(process, request, deadline)
            _await_end(process, deadline)
        except TimeoutError:
            raise _Failed(f"did not answer and end within {self._timeout_s:g} s") from None
        finally:
            status = _end(process)
        if status:
            words = f"was ended by signal {-status}" if status < 0 else f"ended with {status}"
            raise _Failed(_MEANING.get(status, words))
        return answer


def objection(program: Path) -> str:
    """Why this program must not get a key; "" where it may. Raises OSError where it cannot be looked at."""
    if not program.is_absolute():
        return "is no absolute path"
    found = program.stat()
    if not stat.S_ISREG(found.st_mode) or not os.access(program, os.X_OK):
        return "cannot be executed"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"has mode {stat.S_IMODE(found.st_mode):04o}: others may write to it"
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to user {found.st_uid}"
    for directory in {*program.parents, *program.resolve().parents}:
        mode = directory.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"lies below {directory}, where everybody may put another in its place"
    return ""


def _environment() -> dict[str, str]:
    """Nothing of ours but the place of our credentials: the PIN of a token may be one."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    return {"PATH": _PATH, "LANG": "C.UTF-8"} | ({"CREDENTIALS_DIRECTORY": given} if given else {})


def _talk(process: subprocess.Popen[bytes], request: bytes, deadline: float) -> bytes:
    """All that it says, until it closes its standard output. Raises TimeoutError, _Failed."""
    assert process.stdin is not None
    assert process.stdout is not None
    said, rest = bytearray(), memoryview(request)
    with selectors.DefaultSelector() as selector:
        for stream, event in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ)):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, event)
        while True:
            ready = selector.select(max(0.0, deadline - _now()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    rest = rest[_write(process.stdin.fileno(), rest) :]
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif piece := os.read(key.fd, ANSWER_BYTES_MAX + 1):
                    said += piece
                else:
                    return bytes(said)
            if len(said) > ANSWER_BYTES_MAX:
                raise _Failed(f"said more than {ANSWER_BYTES_MAX} bytes")


def _write(descriptor: int, data: memoryview) -> int:
    """How much of it is done with: all, where nobody reads any more. What the program says decides then."""
    try:
        return os.write(descriptor, data)
    except BrokenPipeError:
        return len(data)


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """It has closed its output and ends in a moment. Not reaped yet: until then its group's number is its own."""
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if _now() > deadline:
            raise TimeoutError
        time.sleep(0.001)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Its exit status. What still runs of its group does not run on: it may hold a key."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    return process.wait()


def _decoded(answer: bytes) -> bytes:
    try:
        data = base64.b64decode(answer.removesuffix(b"\n"), validate=True)
    except (binascii.Error, ValueError):
        raise _Failed("gave an answer that is no line of base64") from None
    if not data:
        raise _Failed("gave no answer")
    return data


def _now() -> float:
    return Clock().now().mono
