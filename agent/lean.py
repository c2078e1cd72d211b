"""Keeps out what Python's own and other people's libraries load when they find it, and the agent never uses.

OpenSSL of the system: asyncio has it for TLS streams, hashlib for faster hashes. The agent's TLS runs on plain sockets
(`agent/tls_stream.py`), it hashes a few hundred bytes at a time, and `cryptography` brings an OpenSSL of its own: 5 MB
less to carry and 15 ms sooner on the wire. A lane with TLS loads it later, as if nothing had been.

Debuggers: construct imports pdb for its `Debugger` and pickle for its `Pickled`, which nothing here uses: 0.9 MB.
Compressors: shutil packs archives with them, and pyudev asks for it by way of `ctypes.util`: 0.4 MB.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import cast

OPENSSL = ("ssl", "_ssl", "_hashlib")
COMPRESSORS = ("bz2", "lzma")
DEBUGGERS = ("pdb", "pickle")


@contextmanager
def without(names: Sequence[str]) -> Iterator[None]:
    """While it lasts an import of these says "not here", as on a Python that was built without them."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent, cast(ModuleType, None)))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def hollow(names: Sequence[str]) -> Iterator[None]:
    """While it lasts an import of these gives a module with nothing in it, for those who insist on having one."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update({name: ModuleType(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def forget(names: Sequence[str]) -> None:
    """These modules have done their work: their memory serves others; whoever wants them again loads them again."""
    for name in names:
        sys.modules.pop(name, None)
