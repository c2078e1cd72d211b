"""One heap for all threads, and back goes what only the start needed: parsed files, patterns, free pieces."""

from __future__ import annotations

import ctypes
import gc

# Source: mallopt(3), malloc.h: the number of heaps.
_M_ARENA_MAX = -8


def one_heap() -> None:
    """Before the first thread: each would get a heap of its own; one thread runs at a time anyway."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """After the start. What lives now lives for long: the collector need not look at it again.

    Source: malloc_trim(3); a C library without it (musl) gives back memory by itself.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
