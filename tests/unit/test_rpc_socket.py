"""The socket belongs to one daemon, is never too open, and nothing else is removed for it."""

from __future__ import annotations

import grp
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.rpc_socket import SocketError, _bind, listen, peer_of, remove


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sock"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("mode", [0o660, 0o600, 0o666])
def test_the_mode_is_as_asked_whatever_the_umask(path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        with listen(path, mode, "", 1):
            assert mode_of(path) == mode
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_before_it_has_its_mode_it_is_the_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            _bind(channel, path)
            assert mode_of(path) == 0o600
    finally:
        os.umask(before)


def test_the_group_is_the_one_of_that_name(path: Path) -> None:
    group = grp.getgrgid(os.getgid())
    with listen(path, 0o660, group.gr_name, 1):
        assert path.stat().st_gid == group.gr_gid


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to any group")
def test_another_group_than_our_own_is_given(path: Path) -> None:
    group = next(group for group in grp.getgrall() if group.gr_gid != os.getgid())
    with listen(path, 0o660, group.gr_name, 1):
        assert (path.stat().st_gid, mode_of(path)) == (group.gr_gid, 0o660)


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """As far as files are concerned, another user in one group only."""
    groups = os.getgroups()
    try:
        os.setgroups([])
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(os.getuid())
        os.setegid(os.getgid())
        os.setgroups(groups)


def may_connect(path: Path, uid: int, gid: int) -> bool:
    with socket.socket(socket.AF_UNIX) as client, acting_as(uid, gid):
        try:
            client.connect(str(path))
        except PermissionError:
            return False
    return True


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as others")
@pytest.mark.parametrize("mode", [0o660, 0o600])
def test_a_group_that_the_daemon_cannot_give_files_to_may_connect_and_nobody_else(mode: int) -> None:
    """As in its service, which forbids chown, and where the daemon is no member."""
    daemon, till, stranger = 65_001, 65_002, 65_003
    group = next(group for group in grp.getgrall() if group.gr_gid not in (os.getgid(), daemon))
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, daemon, daemon)
        Path(name).chmod(0o755)
        path = Path(name, "agent.sock")
        with acting_as(daemon, daemon):
            channel = listen(path, mode, group.gr_name, 8)
        with channel:
            assert (path.stat().st_gid, mode_of(path)) == (daemon, mode)
            assert may_connect(path, daemon, daemon)
            assert may_connect(path, till, group.gr_gid) == (mode == 0o660)
            assert not may_connect(path, stranger, stranger)
            assert not may_connect(path, stranger, daemon)


def test_an_unknown_group_is_an_error_and_leaves_nothing(path: Path) -> None:
    with pytest.raises(SocketError, match="no group 'nosuchgroup'"):
        listen(path, 0o660, "nosuchgroup", 1)
    assert not path.exists()


def test_a_dead_socket_is_replaced(path: Path) -> None:
    listen(path, 0o660, "", 1).close()
    assert path.exists()
    with listen(path, 0o660, "", 1), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_daemon_that_listens_is_not_replaced(path: Path) -> None:
    with listen(path, 0o660, "", 1):
        with pytest.raises(SocketError, match="another daemon listens"):
            listen(path, 0o660, "", 1)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_daemon_whose_queue_is_full_is_not_replaced(path: Path) -> None:
    with listen(path, 0o660, "", 0):
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(4)]
        codes = [client.connect_ex(str(path)) for client in waiting]
        assert any(codes), "the queue should be full"
        with pytest.raises(SocketError, match="another daemon listens"):
            listen(path, 0o660, "", 1)
        for client in waiting:
            client.close()


def test_a_file_in_its_place_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(SocketError, match="exists and is no socket"):
        listen(path, 0o660, "", 1)
    assert path.read_text() == "precious"


def test_a_link_in_its_place_is_not_followed(path: Path) -> None:
    target = path.with_name("target.sock")
    listen(target, 0o660, "", 1).close()
    path.symlink_to(target)
    with pytest.raises(SocketError, match="exists and is no socket"):
        listen(path, 0o660, "", 1)
    assert target.exists()


def test_a_path_that_is_too_long_says_so(tmp_path: Path) -> None:
    with pytest.raises(SocketError, match="too long"):
        listen(tmp_path / ("x" * 120), 0o660, "", 1)


def test_a_missing_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(SocketError, match=r"agent\.run_dir"):
        listen(tmp_path / "none" / "a.sock", 0o660, "", 1)


def test_only_our_own_socket_file_is_removed(path: Path) -> None:
    with listen(path, 0o660, "", 1):
        own = path.stat().st_ino
    path.unlink()
    remove(path, own)
    path.write_text("of another daemon")
    remove(path, path.stat().st_ino + 1)
    assert path.exists()
    remove(path, path.stat().st_ino)
    assert not path.exists()


def test_the_peer_is_known_with_its_groups(path: Path) -> None:
    with listen(path, 0o660, "", 1) as server, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        server.setblocking(True)
        connection, _ = server.accept()
        with connection:
            peer = peer_of(connection)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
    assert {os.getgid(), *os.getgroups()} == peer.groups
    assert f"pid {os.getpid()}" in str(peer)
