"""What the process does for itself before it touches a secret: no core file, no debugger, no values in a traceback.

The service file says the same (LimitCORE=0); here it holds too when somebody starts the daemon by hand.
Sources: core(5), prctl(2) PR_SET_DUMPABLE, proc(5).
"""

from __future__ import annotations

import ctypes
import logging
import resource
import sys
import threading
import traceback
from types import TracebackType

_PR_SET_DUMPABLE = 4

log = logging.getLogger("reversald")


def protect_memory() -> None:
    """No core file; no other process of this user may read our memory or environment or attach to us."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        log.warning("the kernel refuses PR_SET_DUMPABLE: errno %d", ctypes.get_errno())


def places(fault: BaseException) -> str:
    """Where a fault of ours happened. Its text is left out: it could hold a message, and so card data."""
    lines = traceback.format_tb(fault.__traceback__)
    causes = fault.__cause__ or fault.__context__
    head = f"{type(fault).__name__}\n{''.join(lines)}"
    return head if causes is None else f"{head}after {type(causes).__name__}\n"


def hide_values_in_tracebacks() -> None:
    """What nobody catches is said by type and place, too, in whatever thread it was raised."""
    sys.excepthook = _hook
    threading.excepthook = lambda ended: _tell(ended.exc_value)


def _hook(kind: type[BaseException], fault: BaseException, where: TracebackType | None) -> None:
    _tell(fault)


def _tell(fault: BaseException | None) -> None:
    if fault is not None and not isinstance(fault, SystemExit):  # None: the interpreter is ending and has let it go
        sys.stderr.write(f"our own fault: {places(fault)}")
