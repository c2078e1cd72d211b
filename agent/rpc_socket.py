"""The Unix socket of the API: made with the right owner and mode, and who is at its other end.

Rules not to break:
1. The socket is never more open than its mode, not even for a moment: it is made for the owner
   alone, gets its group, and only then its mode; where the group cannot be given, both at once by an access list.
2. A socket file is replaced only when nobody listens on it; anything else in its place is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from protocol.errors import AgentError
from protocol.frozen import dataclass

# sun_path of unix(7) is 108 bytes with its final zero.
SOCKET_PATH_BYTES_MAX = 107
# struct ucred of unix(7): pid, uid, gid.
_CREDENTIALS = struct.Struct("3i")
# asm-generic/socket.h; Python has no name for it. A buffer of getsockopt may have 1024 bytes (CPython),
# which is 256 groups; of a user with more, only the first group is known.
_SO_PEERGROUPS = 59
_OPTION_BYTES_MAX = 1024
# include/uapi/linux/posix_acl_xattr.h: version, then tag, permissions and id of each entry, little-endian, by tag.
_ACL = "system.posix_acl_access"
_ACL_VERSION = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_OWNER, _ACL_OWNING_GROUP, _ACL_GROUP, _ACL_MASK, _ACL_OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_ACL_NO_ID = 0xFFFFFFFF


class SocketError(AgentError):
    """The API's socket cannot be made."""

    code = "E-API-SOCKET"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, as the kernel knows. `name`: user name, or "uid 1234"."""

    pid: int
    uid: int
    gid: int
    name: str
    groups: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}, uid {self.uid}, gid {self.gid})"


def peer_of(connection: socket.socket) -> Peer:
    """The kernel's word on the process that connected; the process cannot change it."""
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid, uid, gid, _user_name(uid), frozenset({gid, *_groups(connection)}))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _OPTION_BYTES_MAX)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


def listen(path: Path, mode: int, group: str, backlog: int) -> socket.socket:
    """A listening socket at `path`. Raises SocketError; leaves no file behind when it does."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        hint = f"a socket's path may have {SOCKET_PATH_BYTES_MAX} bytes: use a shorter agent.run_dir"
        raise SocketError(f"the path {path} is too long", hint)
    gid = _group_id(group)
    _make_room(path)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    with contextlib.ExitStack() as undo:
        undo.callback(channel.close)
        _bind(channel, path)
        undo.callback(path.unlink, missing_ok=True)
        _open_up(path, mode, gid)
        channel.listen(backlog)
        undo.pop_all()
    return channel


def remove(path: Path, channel_inode: int) -> None:
    """Removes the socket file, unless another daemon has put its own there."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat(follow_symlinks=False).st_ino == channel_inode:
            path.unlink()


def _group_id(group: str) -> int:
    """The group's number; -1 where none is wanted."""
    if not group:
        return -1
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SocketError(
            f"there is no group {group!r}", f"groupadd --system {group}, or change agent.socket_group"
        ) from None


def _make_room(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketError(f"{path} cannot be looked at: {error.strerror}", "check agent.run_dir") from error
    if not is_socket:
        raise SocketError(f"{path} exists and is no socket", "move it away, or change agent.socket")
    if _somebody_listens(path):
        raise SocketError(f"another daemon listens on {path}", "stop it first; one daemon serves one configuration")
    path.unlink(missing_ok=True)


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
        # EAGAIN: its queue of waiting connections is full, so somebody does listen.
        return probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)


def _bind(channel: socket.socket, path: Path) -> None:
    with _umask(0o177):
        try:
            channel.bind(str(path))
        except OSError as error:
            hint = "the directory must exist and belong to the daemon's user (agent.run_dir)"
            raise SocketError(f"{path} cannot be made: {error.strerror}", hint) from error


def _open_up(path: Path, mode: int, gid: int) -> None:
    try:
        if gid not in (-1, path.stat().st_gid) and not _given(path, gid):
            os.setxattr(path, _ACL, _access_list(mode, gid))
            return
        path.chmod(mode)
    except OSError as error:
        hint = "make the daemon's user a member of agent.socket_group, or use a run_dir that knows access lists"
        raise SocketError(f"{path} cannot be given its group: {error.strerror}", hint) from error


def _given(path: Path, gid: int) -> bool:
    """Whether the file could be given to the group: not where we are no member, nor where a sandbox forbids the call
    (udev/reversald.service does).
    """
    try:
        os.chown(path, -1, gid)
    except PermissionError:
        return False
    return True


def _access_list(mode: int, gid: int) -> bytes:
    """The same rights without giving the file away: `mode` with `gid` for its group. acl(5)."""
    owner, group, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    entries = (
        (_ACL_OWNER, owner, _ACL_NO_ID),
        (_ACL_OWNING_GROUP, 0, _ACL_NO_ID),
        (_ACL_GROUP, group, gid),
        (_ACL_MASK, group, _ACL_NO_ID),
        (_ACL_OTHER, other, _ACL_NO_ID),
    )
    return _ACL_VERSION.pack(2) + b"".join(_ACL_ENTRY.pack(*entry) for entry in entries)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
