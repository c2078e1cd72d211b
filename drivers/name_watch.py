"""Waits for device names to come and go, without looking again and again: inotify on the directories that hold them.

A name whose directory does not exist yet is waited for in the nearest directory that does. Events only say "look";
what really changed is found out by looking. Where the system has no inotify every wait lasts its time-out.
Source: inotify(7), eventfd(2).
"""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterable
from pathlib import Path

# linux/inotify.h: what may make a name appear, vanish or mean something else.
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_MASK = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_READ_BYTES = 65536
_POLL_MS_MAX = 2**31 - 1


class NameWatch:
    """Used by one thread, but `interrupt` and `watch`, which any thread may call."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._events = -1
        self._paths: tuple[str, ...] = ()
        self._closed = False

    def watch(self, paths: Iterable[str]) -> None:
        """From the next wait on these; a wait under way ends."""
        self._paths = tuple(path for path in paths if path)
        self.interrupt()

    def interrupt(self) -> None:
        """A wait under way ends; without one the next ends at once."""
        if not self._closed:
            os.eventfd_write(self._news, 1)

    def arm(self) -> None:
        """Begin to hear of changes; look at the names after this, or one in between is missed."""
        if self._events >= 0:
            os.close(self._events)
        self._events = self._libc.inotify_init1(_FLAGS)  # -1 where there is none: then only time passes
        places = {_nearest(name) for path in self._paths for name in (path, os.path.realpath(path))}
        for directory in places if self.hears else ():
            self._libc.inotify_add_watch(self._events, os.fsencode(directory), ctypes.c_uint32(_MASK))

    @property
    def hears(self) -> bool:
        """Whether `wait` hears of changes; else only time passes."""
        return self._events >= 0

    def wait(self, timeout_s: float) -> None:
        """Until a directory of the names changes, `interrupt`, or the time-out."""
        poll = select.poll()
        for file in (self._news, self._events) if self.hears else (self._news,):
            poll.register(file, select.POLLIN)
        for file, _ in poll.poll(min(1000 * timeout_s, _POLL_MS_MAX)):
            os.read(file, _READ_BYTES)

    def close(self) -> None:
        """When the thread has ended."""
        if self._closed:
            return
        self._closed = True
        os.close(self._news)
        if self._events >= 0:
            os.close(self._events)


def _nearest(path: str) -> Path:
    """The directory of a name, or the nearest above it that exists."""
    directory = Path(path).parent
    while not directory.is_dir() and directory != directory.parent:
        directory = directory.parent
    return directory
