"""Files with keys are used only where nobody else may read them, also where systemd gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.private_file import FILE_BYTES_MAX, open_to_others, read_private
from agent.vault_error import VaultError


def written(directory: Path, mode: int) -> Path:
    file = directory / "key"
    file.write_bytes(b"k")
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert read_private("key file", written(tmp_path, mode), "") == b"k"


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o610, 0o440])
def test_a_file_that_others_may_use_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    with pytest.raises(VaultError, match=f"mode {mode:04o}: others may read it .*chmod 0600"):
        read_private("key file", written(tmp_path, mode), "")


def test_the_group_bit_that_an_access_list_shows_counts_for_nothing_among_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd 254 and later: mode 0440, owner root, and an access list for the service's user."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_private("key file", written(tmp_path, 0o440), "") == b"k"
    assert not open_to_others(Path("/run/credentials/reversald.service/data.key"), 0o100440)


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o450, 0o404])
def test_a_credential_that_others_may_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert open_to_others(written(tmp_path, mode), mode)
    assert open_to_others(tmp_path / "below" / "key", 0o440), "only the directory itself holds credentials"


def test_what_is_no_file_or_no_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="not a regular file"):
        read_private("key file", tmp_path, "")
    with pytest.raises(VaultError, match="No such file") as missing:
        read_private("key file", tmp_path / "none", "restore it")
    assert missing.value.hint == "restore it"
    large = written(tmp_path, 0o600)
    with large.open("wb") as stream:
        stream.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(VaultError, match="larger than"):
        read_private("key file", large, "")
