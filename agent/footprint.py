"""Gives back what only the start needed: parsed files, compiled patterns, free pieces of the heap."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """After the start. What lives now lives for long: the collector need not look at it again.

    Source: malloc_trim(3); a C library without it (musl) gives back memory by itself.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
