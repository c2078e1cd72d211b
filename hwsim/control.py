"""The bench's control socket: JSON lines, one request and one answer each.

    {"do": "fault", "device": "printer", "fault": "paper-out", "args": {}}  -> {"ok": true}
    {"do": "state", "device": "printer"}                                    -> {"ok": true, "state": {...}}
    {"do": "addresses"}                                                     -> {"ok": true, "addresses": {...}}
    anything wrong                                      -> {"ok": false, "error": "...", "hint": "..."}

The socket has mode 0600: whoever may break the bench is its owner.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path

from hwsim.errors import BenchError

SOCKET_NAME = "control"
MAX_LINE_BYTES = 65536
CLIENT_WAIT_S = 10.0
Handler = Callable[[dict[str, object]], dict[str, object]]


class ControlServer:
    """Answers requests with `handler` until closed; the handler may raise BenchError."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._server = Server(str(path), handler)
        finally:
            os.umask(mask)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="hwsim-control")
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


class Server(socketserver.ThreadingUnixStreamServer):
    """A thread per client; none of them outlives `server_close`."""

    block_on_close = True

    def __init__(self, path: str, handler: Handler) -> None:
        super().__init__(path, Conversation)
        self.answer = handler


class Conversation(socketserver.StreamRequestHandler):
    """One request, one answer, then the connection ends."""

    timeout = CLIENT_WAIT_S

    def handle(self) -> None:
        try:
            line = self.rfile.readline(MAX_LINE_BYTES)
        except OSError:
            return  # a client that says nothing
        self.wfile.write(json.dumps(self._answer(line), ensure_ascii=False).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
        except ValueError:
            return {"ok": False, "error": "the request is not one line of JSON", "hint": ""}
        if not isinstance(request, dict):
            return {"ok": False, "error": "the request is not a JSON object", "hint": ""}
        server = self.server
        assert isinstance(server, Server)
        try:
            return {"ok": True, **server.answer(request)}
        except BenchError as error:
            return {"ok": False, "error": error.text, "hint": error.hint}


def ask(directory: Path, request: dict[str, object]) -> dict[str, object]:
    """One request to a running bench. Raises BenchError when there is none, or with its refusal."""
    path = directory / SOCKET_NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CLIENT_WAIT_S)
        try:
            client.connect(str(path))
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as stream:
                answer = json.loads(stream.readline())
        except (OSError, ValueError):
            raise BenchError(f"no bench answers at {path}", "start one with `hwsim up`") from None
    if not answer.get("ok"):
        raise BenchError(str(answer.get("error", "")), str(answer.get("hint", "")))
    return dict(answer)
