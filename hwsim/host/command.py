"""`hwsim host`: the simulated host as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import json
import signal
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsim.host.dialects import DIALECTS
from hwsim.host.faults import FaultError
from hwsim.host.macs import ALGORITHMS
from hwsim.host.server import HostServer, HostServerError
from hwsim.host.settings import HostSettings
from protocol.errors import AgentError, MacError

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: a value of the command line, or a file it names, is wrong."""
LINES_EVERY_S = 0.2


def main(argv: Sequence[str]) -> int:
    """Run a host; prints one 'ready' line, then one line for each message. 0 after a signal."""
    options = _parser().parse_args(list(argv))
    try:
        host = _host(options)
        _order_faults(host, options.fault)
        host.start()
    except AgentError as error:
        print(f"hwsim host: {error}", file=sys.stderr)
        return EXIT_CONFIG
    return _run(host, options.quiet)


def _run(host: HostServer, quiet: bool) -> int:
    """Until a signal; lines are taken from the transcript, which a busy host may cut short."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    where = f" control {host.control_address}" if host.control_address else ""
    print(f"ready {host.settings.dialect} {host.address}{where}", flush=True)
    while not ended.wait(LINES_EVERY_S):
        _print_lines(host, quiet)
    host.stop()
    _print_lines(host, quiet)
    return 0


def _print_lines(host: HostServer, quiet: bool) -> None:
    while host.machine.transcript:
        line = host.machine.transcript.popleft()
        if not quiet:
            print(line, flush=True)


def _host(options: argparse.Namespace) -> HostServer:
    settings = HostSettings(
        dialect=options.dialect,
        mac=options.mac,
        mac_key=_key(options.key_file),
        mac_on_all_replies=options.mac_on_all,
        rotate_keys=options.rotate_keys,
        duplicate=options.duplicate,
        unknown_reversal=options.unknown_reversal,
        block_late_original=not options.allow_late_original,
        check_batch=options.check_batch,
        require_sign_on=options.require_sign_on,
        processing_requirement=options.processing_requirement,
    )
    return HostServer(
        settings=settings,
        bind=options.bind,
        port=options.port,
        control=options.control,
        ledger_path=options.ledger or None,
        tls=_tls(options.tls_cert, options.tls_key),
    )


def _key(path: str) -> bytes:
    """A MAC key in hex. Its bytes never come into an error."""
    if not path:
        return b""
    try:
        key = bytes.fromhex(Path(path).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise MacError(f"cannot read a key from {path}", "the file holds 16 or 32 hex digits") from error
    if len(key) not in (8, 16):
        raise MacError(f"the key in {path} has {len(key)} bytes", "8 or 16 bytes are meant")
    return key


def _tls(certificate: str, key: str) -> ssl.SSLContext | None:
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as error:
        raise HostServerError(f"cannot use the certificate {certificate}: {error}") from error
    return context


def _order_faults(host: HostServer, orders: Sequence[str]) -> None:
    for text in orders:
        host.faults.add(**_fault_order(text))


def _fault_order(text: str) -> dict[str, Any]:
    """'reversal:drop-reply' or a JSON object with the control port's keys."""
    if not text.startswith("{"):
        on, _, fault = text.partition(":")
        return {"on": on, "fault": fault}
    try:
        order = json.loads(text)
    except ValueError as error:
        raise FaultError("a fault order is not JSON", 'example: {"on": "0200", "fault": "drop-reply"}') from error
    allowed = {"on", "fault", "nth", "count", "value", "terminal"}
    if not {"on", "fault"} <= set(order) <= allowed:
        raise FaultError("a fault order has other keys", f"use {', '.join(sorted(allowed))}")
    return dict(order)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hwsim host", description="Simulated acquirer host with a money ledger.")
    add = parser.add_argument
    add("--dialect", choices=list(DIALECTS), default="unionpay")
    add("--bind", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=0, help="0 takes a free one and prints it")
    add("--control", default="", metavar="PATH|HOST:PORT", help="control port (JSON lines)")
    add("--ledger", default="", metavar="FILE", help="keep the books in this JSON file")
    add("--mac", choices=["", "none", *ALGORITHMS], default="", help="default: the dialect's own")
    add("--key-file", default="", metavar="FILE", help="MAC key in hex; default: the bench key")
    add("--mac-on-all", action="store_true", help="a MAC on declines too")
    add("--rotate-keys", action="store_true", help="each sign-on brings new working keys")
    add("--duplicate", choices=["same", "94"], default="same", help="answer to a request that came before")
    add("--unknown-reversal", default="25", metavar="CODE", help="answer to a reversal of an unknown original")
    add("--allow-late-original", action="store_true", help="approve an original that its reversal has overtaken")
    add("--check-batch", action="store_true", help="77 for a batch other than the host's")
    add("--require-sign-on", action="store_true", help="77 before the first sign-on")
    add("--processing-requirement", type=int, default=0, choices=range(10), metavar="0..9")
    add("--fault", action="append", default=[], metavar="CLASS:NAME|JSON", help="may be given several times")
    add("--tls-cert", default="", metavar="PEM")
    add("--tls-key", default="", metavar="PEM")
    add("--quiet", action="store_true", help="no line for each message")
    return parser
