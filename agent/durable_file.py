"""Files whose name and content survive a power cut, and one lock a journal.

A new or renamed file is durable when its content was forced to the disk, and after that its directory. All functions
raise OSError.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def create_durably(path: Path, content: bytes) -> None:
    """Creates `path` (0600) with `content`, whole or not at all. FileExistsError if the name is taken."""
    with _draft_of(path) as draft:
        _write_and_sync(draft, content)
        os.link(draft, path)
        draft.unlink()
    sync_directory(path.parent)


def replace_durably(path: Path, content: bytes, mtime_ns: int | None = None) -> None:
    """Gives `path` a new content (0600): a reader and a power cut find the old one or the new one.

    Its owner stays: root must not take a file away from the daemon. `mtime_ns`: since when it shall seem to be so.
    """
    with _draft_of(path) as draft:
        _write_and_sync(draft, content, _owner_of(path), mtime_ns)
        rename_durably(draft, path)


def append_line(path: Path, line: str, *, durable: bool) -> None:
    """Adds `line` and its end to `path` (0600): all of it, else OSError. `durable`: it is on the disk afterwards.

    What a power cut has torn stays a line by itself. A link in the place of the file is not followed: root appends in
    directories of others, too.
    """
    is_new = not path.exists()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        left = (b"\n" if _is_torn(descriptor) else b"") + line.encode() + b"\n"
        while left:
            left = left[os.write(descriptor, left) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if durable and is_new:
        sync_directory(path.parent)


def rename_durably(source: Path, target: Path) -> None:
    """Renames within one directory; `target`, if it exists, is replaced."""
    os.rename(source, target)
    sync_directory(target.parent)


def sync_file(path: Path) -> None:
    """Forces the content of a closed file to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Makes created, renamed and deleted names of `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _draft_of(path: Path) -> Iterator[Path]:
    """Where the new content is written first. What fails leaves none behind: it may hold keys in clear."""
    draft = path.with_name(path.name + ".part")
    draft.unlink(missing_ok=True)
    try:
        yield draft
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong first is told
            draft.unlink(missing_ok=True)
        raise


def _is_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _write_and_sync(
    path: Path, content: bytes, owner: tuple[int, int] | None = None, mtime_ns: int | None = None
) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        if owner is not None:
            os.fchown(descriptor, *owner)
        stream.write(content)
        stream.flush()
        if mtime_ns is not None:
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        os.fsync(descriptor)


def _owner_of(path: Path) -> tuple[int, int] | None:
    """User and group of a file that is there, where we may give files away."""
    if os.geteuid() != 0:
        return None
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_uid, found.st_gid


class LockFile:
    """A lock that the kernel drops when its process ends, however it ends. The file says who holds it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path  # may be opened and closed by anybody: the lock is not lost by that (flock)

    @classmethod
    def take(cls, path: Path) -> LockFile | str:
        """The lock, or, if another process holds it, a few words on which."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _describe_holder(os.pread(descriptor, 64, 0))
            os.close(descriptor)
            return holder
        with contextlib.suppress(OSError):  # who holds it is a courtesy; a full disk must not stop a start
            os.pwrite(descriptor, b"%-20d\n" % os.getpid(), 0)
        return cls(descriptor, path)

    def release(self) -> None:
        """Gives the lock back; the file stays, so that two processes can never lock two files of one name.

        By name, not only with the descriptor: a child that is just being started still has a copy of that.
        """
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


def _describe_holder(content: bytes) -> str:
    pid = content.decode("ascii", "replace").strip()
    if not pid.isdigit():
        return "another process"
    try:
        command = Path("/proc", pid, "comm").read_text().strip()
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({command})"
