"""The key file and the seals."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from agent.vault import Vault, VaultError

KEY = bytes(range(32))


def write_key(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_sealed_body_opens_with_its_context_only() -> None:
    vault = Vault([KEY])
    blob = vault.seal(b"body", b"row 1")
    assert vault.open_sealed(blob, b"row 1") == b"body"
    with pytest.raises(VaultError, match="wrong row"):
        vault.open_sealed(blob, b"row 2")


def test_every_flipped_bit_of_a_sealed_body_is_noticed() -> None:
    vault = Vault([KEY])
    blob = vault.seal(b"body", b"row")
    for bit in range(8 * len(blob)):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VaultError):
            vault.open_sealed(bytes(damaged), b"row")


@pytest.mark.parametrize("length", range(0, 37))
def test_a_short_sealed_body_is_noticed(length: int) -> None:
    vault = Vault([KEY])
    with pytest.raises(VaultError):
        vault.open_sealed(vault.seal(b"body", b"row")[:length], b"row")


def test_the_same_body_is_never_sealed_alike() -> None:
    vault = Vault([KEY])
    assert len({vault.seal(b"body", b"row") for _ in range(100)}) == 100


def test_raw_and_base64_key_files_are_the_same_key(tmp_path: Path) -> None:
    raw = Vault.open(write_key(tmp_path / "raw", KEY))
    text = Vault.open(write_key(tmp_path / "text", b"# terminal 7\n" + base64.b64encode(KEY) + b"\n", 0o400))
    assert text.open_sealed(raw.seal(b"body", b""), b"") == b"body"
    assert raw.key_id == text.key_id


def test_a_new_key_on_top_seals_and_the_old_one_still_opens(tmp_path: Path) -> None:
    old = Vault([KEY])
    lines = base64.b64encode(b"n" * 32) + b"\n" + base64.b64encode(KEY) + b"\n"
    both = Vault.open(write_key(tmp_path / "key", lines))
    assert both.open_sealed(old.seal(b"body", b""), b"") == b"body"
    with pytest.raises(VaultError, match="not in the key file"):
        old.open_sealed(both.seal(b"body", b""), b"")
    assert both.knows(old.key_id)
    assert both.chain_code(b"x", old.key_id) == old.chain_code(b"x", old.key_id)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o777])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(VaultError, match="others may read"):
        Vault.open(write_key(tmp_path / "key", KEY, mode))


@pytest.mark.parametrize("content", [b"", b"short", base64.b64encode(b"x" * 31), b"!" * 44, KEY + b"\n"])
def test_a_damaged_key_file_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(VaultError) as caught:
        Vault.open(write_key(tmp_path / "key", content))
    assert content == b"" or content.decode("latin-1") not in str(caught.value)


def test_a_missing_key_is_never_made_anew_beside_a_journal(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    journal.touch()
    with pytest.raises(VaultError, match="missing"):
        Vault.open_or_create(tmp_path / "key", [journal])
    assert os.listdir(tmp_path) == ["journal.db"]


def test_a_new_key_has_its_final_name_only_once_it_is_settled(tmp_path: Path) -> None:
    first = Vault.open_or_create(tmp_path / "key", [])
    again = Vault.open_or_create(tmp_path / "key", [tmp_path])  # a power cut before the journal was whole
    assert first.fresh
    assert again.fresh
    assert again.key_id == first.key_id
    again.settle()
    settled = Vault.open_or_create(tmp_path / "key", [tmp_path])
    assert not settled.fresh
    assert settled.key_id == first.key_id
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_a_vault_does_not_show_its_key() -> None:
    assert KEY.hex() not in repr(Vault([KEY]))
    assert base64.b64encode(KEY).decode() not in repr(vars(Vault([KEY])))
