"""A key file in clear or wrapped: opened by the right source alone, replaced whole, and nothing of it shown or lost."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.key_file import KeyFile, Keyring
from agent.key_material import id_of
from agent.key_wrapper import KeyWrapper
from agent.vault import Vault, VaultError
from agent.wrapping_key import WrappingKey
from tests.secure_element import SecureElement

OTHER = b"o" * 32


def wrapping_key(directory: Path, name: str = "kek", key: bytes = bytes(range(32))) -> Path:
    file = directory / name
    file.write_bytes(base64.b64encode(key) + b"\n")
    file.chmod(0o600)
    return file


def in_file(directory: Path) -> KeyWrapper:
    return WrappingKey.in_file(wrapping_key(directory))


def in_credential(directory: Path) -> KeyWrapper:
    given = directory / "credentials"
    given.mkdir(exist_ok=True)
    wrapping_key(given, "data-kek").chmod(0o440)  # as systemd since release 254
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDENTIALS_DIRECTORY", str(given))
        wrapper = WrappingKey.in_credential("data-kek")
        assert wrapper.name.endswith("/credentials/data-kek")
    return wrapper


def in_element(directory: Path) -> KeyWrapper:
    return SecureElement(directory / "element").wrapper()


SOURCES = (in_file, in_credential, in_element)


@pytest.fixture(params=SOURCES, ids=lambda make: make.__name__)
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyWrapper:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    make: Callable[[Path], KeyWrapper] = request.param
    return make(tmp_path)


class Broken:
    """A source that fails as it is told to."""

    name = "broken source"

    def __init__(self, token: Callable[[bytes], bytes], back: Callable[[bytes], bytes]) -> None:
        self._token, self._back = token, back

    def fits(self, label: str) -> bool:
        return label == "broken"

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        return "broken", self._token(key)

    def unwrap(self, label: str, token: bytes) -> bytes:
        return self._back(token)


def settled(path: Path, *wrappers: KeyWrapper) -> Vault:
    """A vault with a new key file, as after a first start."""
    vault = Vault.open_or_create(path, [], wrappers)
    vault.settle()
    return vault


def keys_of(path: Path, *wrappers: KeyWrapper) -> Keyring:
    return KeyFile(path, wrappers).load()


def shows(content: bytes, ring: Keyring) -> bool:
    """Whether a data key or what is left of one stands there, raw or as text."""
    secrets = [*ring.keys, *ring.destroyed.values()]
    return any(key in content or base64.b64encode(key) in content or key.hex().encode() in content for key in secrets)


def opened_or_told(path: Path, wrapper: KeyWrapper) -> Keyring | VaultError:
    try:
        return keys_of(path, wrapper)
    except VaultError as error:
        return error


# --- every source ------------------------------------------------------------------------------


def test_a_first_start_makes_a_wrapped_file_that_the_next_start_opens(tmp_path: Path, source: KeyWrapper) -> None:
    first = settled(tmp_path / "key", source)
    assert first.wrapped_under == source.name
    again = Vault.open_or_create(tmp_path / "key", [tmp_path], [source])
    assert (again.key_id, again.wrapped_under) == (first.key_id, source.name)
    assert not shows((tmp_path / "key").read_bytes(), keys_of(tmp_path / "key", source))
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert not {"key.new", "key.part"} & set(os.listdir(tmp_path))


def test_a_power_cut_before_the_journal_was_whole_leaves_a_wrapped_new_file(tmp_path: Path, source: KeyWrapper) -> None:
    first = Vault.open_or_create(tmp_path / "key", [], [source])
    again = Vault.open_or_create(tmp_path / "key", [tmp_path], [source])
    assert again.fresh
    assert again.key_id == first.key_id


def test_a_rotation_and_a_destruction_keep_it_wrapped_and_all_that_is_needed_readable(
    tmp_path: Path, source: KeyWrapper
) -> None:
    vault = settled(tmp_path / "key", source)
    old, blob = vault.key_id, vault.seal(b"body", b"row")
    vault.rotate()
    both = Vault.open(tmp_path / "key", [source])
    assert both.open_sealed(blob, b"row") == b"body"
    assert both.keys() == {both.key_id: "seals", old: "opens"}
    assert vault.destroy_old() == [old]
    left = Vault.open(tmp_path / "key", [source])
    assert left.keys() == {left.key_id: "seals", old: "destroyed"}
    assert left.chain_code(b"x", old) == vault.chain_code(b"x", old)
    assert not shows((tmp_path / "key").read_bytes(), keys_of(tmp_path / "key", source))


def test_keys_in_clear_go_on_and_are_wrapped_and_unwrapped_on_demand(tmp_path: Path, source: KeyWrapper) -> None:
    clear = settled(tmp_path / "key")
    blob, content = clear.seal(b"body", b"row"), (tmp_path / "key").read_bytes()
    vault = Vault.open(tmp_path / "key", [source])
    assert (vault.wrapped_under, vault.wraps_under) == ("", source.name)
    assert (tmp_path / "key").read_bytes() == content, "opening changes nothing"
    vault.wrap()
    assert vault.wrapped_under == source.name
    assert Vault.open(tmp_path / "key", [source]).open_sealed(blob, b"row") == b"body"
    vault.unwrap()
    assert (tmp_path / "key").read_bytes() == content
    assert Vault.open(tmp_path / "key").open_sealed(blob, b"row") == b"body"


def test_a_rotation_wraps_what_was_in_clear(tmp_path: Path, source: KeyWrapper) -> None:
    settled(tmp_path / "key")
    vault = Vault.open(tmp_path / "key", [source])
    vault.rotate()
    assert vault.wrapped_under == source.name
    assert not shows((tmp_path / "key").read_bytes(), keys_of(tmp_path / "key", source))


def test_the_same_keys_are_as_old_as_before(tmp_path: Path, source: KeyWrapper) -> None:
    """`keys destroy` asks how old the newest key is."""
    settled(tmp_path / "key")
    os.utime(tmp_path / "key", (1_600_000_000, 1_600_000_000))
    vault = Vault.open(tmp_path / "key", [source])
    vault.wrap()
    vault.unwrap()
    assert (tmp_path / "key").stat().st_mtime == 1_600_000_000
    vault.rotate()
    assert (tmp_path / "key").stat().st_mtime > 1_600_000_000


def test_a_copy_for_the_safe_opens_everything_and_replaces_a_lost_source(tmp_path: Path, source: KeyWrapper) -> None:
    vault = settled(tmp_path / "key", source)
    vault.rotate()
    vault.destroy_old()
    vault.copy_keys(tmp_path / "safe")
    assert Vault.open(tmp_path / "safe").keys() == vault.keys()
    assert (tmp_path / "safe").stat().st_mode & 0o777 == 0o600
    with pytest.raises(VaultError, match="File exists"):
        vault.copy_keys(tmp_path / "safe")


def test_no_two_writings_are_alike_and_each_has_a_file_key_of_its_own(tmp_path: Path, source: KeyWrapper) -> None:
    vault = settled(tmp_path / "key", source)
    seen = set()
    for _ in range(3):
        vault.wrap()
        seen |= set((tmp_path / "key").read_bytes().splitlines()[1:])
    assert len(seen) == 6


# --- what does not open ------------------------------------------------------------------------


def refused(path: Path, *wrappers: KeyWrapper) -> VaultError:
    """The start of a daemon and of a tool fail, and nothing is made or changed. The daemon's error."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with pytest.raises(VaultError):
        Vault.open(path, wrappers)
    with pytest.raises(VaultError) as opened:
        Vault.open_or_create(path, [], wrappers)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()} == before
    assert opened.value.hint, "every refusal says what to do"
    return opened.value


def test_every_changed_byte_of_a_wrapped_file_is_noticed(tmp_path: Path) -> None:
    wrapper = in_file(tmp_path)
    settled(tmp_path / "key", wrapper)
    good = (tmp_path / "key").read_bytes()
    begins = good.index(b"\nwrapped") + 1
    ring = keys_of(tmp_path / "key", wrapper)
    for at in range(begins, len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 if good[at : at + 1] != b"\n" else 0x20
        (tmp_path / "key").write_bytes(bad)
        told = opened_or_told(tmp_path / "key", wrapper)
        assert told == ring or isinstance(told, VaultError), "only spare bits of a last character of base64 do nothing"
        assert not shows(str(told).encode(), ring)


@pytest.mark.parametrize("length", [0, 7, 8, 40, 120, -40, -1])
def test_a_cut_wrapped_file_is_refused(tmp_path: Path, length: int) -> None:
    wrapper = in_file(tmp_path)
    settled(tmp_path / "key", wrapper)
    content = (tmp_path / "key").read_bytes()
    wrapped = content[content.index(b"\nwrapped") + 1 :]
    (tmp_path / "key").write_bytes(wrapped[:length])
    if length == -1:  # the end of the last line
        assert keys_of(tmp_path / "key", wrapper)
    else:
        refused(tmp_path / "key", wrapper)


def test_the_lines_of_two_writings_do_not_mix(tmp_path: Path) -> None:
    """Else somebody with the card could bring back a destroyed key."""
    wrapper = in_file(tmp_path)
    vault = settled(tmp_path / "key", wrapper)
    first = (tmp_path / "key").read_bytes().splitlines(keepends=True)
    vault.rotate()
    second = (tmp_path / "key").read_bytes().splitlines(keepends=True)
    (tmp_path / "key").write_bytes(first[0] + first[1] + second[2])
    assert "does not open" in refused(tmp_path / "key", wrapper).text


def test_another_wrapping_key_is_told_from_the_right_one_by_its_id(tmp_path: Path) -> None:
    settled(tmp_path / "key", in_file(tmp_path))
    wrong = WrappingKey.in_file(wrapping_key(tmp_path, "wrong", OTHER))
    error = refused(tmp_path / "key", wrong)
    assert f"holds key {id_of(OTHER)}, and the key file is wrapped under key {id_of(bytes(range(32)))}" in error.text


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 31, b"x" * 33, b"!" * 44, base64.b64encode(OTHER) * 2])
def test_a_damaged_wrapping_key_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    wrapper = in_file(tmp_path)
    settled(tmp_path / "key", wrapper)
    wrapping_key(tmp_path).write_bytes(content)
    error = refused(tmp_path / "key", wrapper)
    assert not content.strip() or content.decode() not in str(error)


def test_two_lines_are_no_wrapping_key(tmp_path: Path) -> None:
    """Which of them was meant? Another source is another table of the configuration."""
    wrapper = in_file(tmp_path)
    settled(tmp_path / "key", wrapper)
    with wrapping_key(tmp_path).open("ab") as stream:
        stream.write(base64.b64encode(OTHER))
    assert "must hold one key and has 2 lines" in refused(tmp_path / "key", wrapper).text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_wrapping_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    wrapper = in_file(tmp_path)
    settled(tmp_path / "key", wrapper)
    wrapping_key(tmp_path).chmod(mode)
    assert "others may read it" in refused(tmp_path / "key", wrapper).text


def test_a_medium_that_is_not_there_stops_the_start_and_nothing_is_made(tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    medium.mkdir()
    wrapper = WrappingKey.in_file(medium / "kek")
    assert "No such file" in refused(tmp_path / "key", wrapper).text
    assert os.listdir(tmp_path) == ["medium"]
    wrapping_key(medium)
    vault = settled(tmp_path / "key", wrapper)
    (medium / "kek").unlink()
    refused(tmp_path / "key", wrapper)
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(VaultError, match="cannot be read"):
        vault.rotate()
    assert (tmp_path / "key").read_bytes() == before, "a rotation without the source changes nothing"
    vault.unwrap()  # the keys are at hand: the way out when a wrapping key is lost while the agent runs
    assert Vault.open(tmp_path / "key").key_id == vault.key_id


def test_a_credential_that_is_not_there_says_who_gives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    wrapper = WrappingKey.in_credential("data-kek")
    assert wrapper.name == "credential /run/credentials/reversald.service/data-kek"
    error = refused(tmp_path / "key", wrapper)
    assert "LoadCredential" in error.hint
    assert "start the service first" in error.hint


def test_a_wrapped_file_without_any_source_says_what_it_is_wrapped_under(tmp_path: Path) -> None:
    settled(tmp_path / "key", in_file(tmp_path))
    assert f"wrapped under key {id_of(bytes(range(32)))}" in refused(tmp_path / "key").text
    element = in_element(tmp_path)
    settled(tmp_path / "other", element)
    assert "wrapped under the key of a program" in refused(tmp_path / "other", in_file(tmp_path)).text


@pytest.mark.parametrize("mood", ["absent", "hangs", "crashes", "garbage", "other-key", "short", "of-another"])
def test_an_element_that_fails_stops_the_start_and_nothing_is_changed(tmp_path: Path, mood: str) -> None:
    element = SecureElement(tmp_path / "element")
    wrapper = element.wrapper(1.0)
    element.be(mood)
    refused(tmp_path / "new", wrapper)
    element.be("well")
    vault = settled(tmp_path / "key", wrapper)
    element.be(mood)
    error = refused(tmp_path / "key", wrapper)
    assert "wrapping program" in error.text
    for change in (vault.rotate, vault.destroy_old, vault.wrap):
        with pytest.raises(VaultError):
            change()
    element.be("well")
    assert Vault.open(tmp_path / "key", [wrapper]).keys() == vault.keys()


@pytest.mark.parametrize(
    ("token", "back", "words"),
    [
        (lambda key: key, lambda token: token, "does not wrap"),
        (lambda key: b"<" + key + b">", lambda token: token[1:-1], "does not wrap"),
        (lambda key: b"", lambda token: OTHER, "does not wrap"),
        (lambda key: bytes(5000), lambda token: OTHER, "does not wrap"),
        (lambda key: bytes(32), lambda token: OTHER, "unwraps another key than it has wrapped"),
    ],
)
def test_a_source_that_could_not_give_the_key_back_wraps_nothing(
    tmp_path: Path, token: Callable[[bytes], bytes], back: Callable[[bytes], bytes], words: str
) -> None:
    """At the next start it would be too late."""
    settled(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    vault = Vault.open(tmp_path / "key", [Broken(token, back)])
    with pytest.raises(VaultError, match=words):
        vault.wrap()
    assert (tmp_path / "key").read_bytes() == before


def test_an_element_that_can_only_wrap_wraps_nothing(tmp_path: Path) -> None:
    element = SecureElement(tmp_path / "element")
    element.be("cannot-unwrap")
    with pytest.raises(VaultError, match="unwraps another key"):
        Vault.open_or_create(tmp_path / "key", [], [element.wrapper()])
    assert os.listdir(tmp_path) == ["element"]


# --- several sources ---------------------------------------------------------------------------


def test_the_first_source_wraps_and_the_others_still_open(tmp_path: Path) -> None:
    """So a wrapping key is changed without a moment in which nothing opens: both, `keys wrap`, the new one alone."""
    old, new = in_file(tmp_path), in_element(tmp_path)
    blob = settled(tmp_path / "key", old).seal(b"body", b"row")
    both = Vault.open(tmp_path / "key", [new, old])
    assert (both.wrapped_under, both.wraps_under) == (old.name, new.name)
    both.wrap()
    assert Vault.open(tmp_path / "key", [new]).open_sealed(blob, b"row") == b"body"
    refused(tmp_path / "key", old)


def test_a_source_that_is_not_needed_may_be_away(tmp_path: Path) -> None:
    away = WrappingKey.in_file(tmp_path / "none")
    settled(tmp_path / "key", in_file(tmp_path))
    assert Vault.open(tmp_path / "key", [away, in_file(tmp_path)]).wraps_under == away.name


def test_where_no_source_opens_it_each_says_why(tmp_path: Path) -> None:
    settled(tmp_path / "key", in_file(tmp_path))
    away, wrong = tmp_path / "none", wrapping_key(tmp_path, "wrong", OTHER)
    text = refused(tmp_path / "key", WrappingKey.in_file(away), WrappingKey.in_file(wrong)).text
    assert f"{away} cannot be read" in text
    assert f"{wrong} holds key" in text


# --- the file itself ---------------------------------------------------------------------------


def test_what_is_not_there_to_be_wrapped_under_is_said(tmp_path: Path) -> None:
    vault = settled(tmp_path / "key")
    with pytest.raises(VaultError, match="nothing is configured"):
        vault.wrap()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_that_somebody_changed_is_never_overwritten(tmp_path: Path, wrapped: bool) -> None:
    vault = settled(tmp_path / "key", *([in_file(tmp_path)] if wrapped else []))
    with (tmp_path / "key").open("ab") as stream:
        stream.write(b"# the technician was here\n")
    before = (tmp_path / "key").read_bytes()
    for change in (vault.rotate, vault.destroy_old, vault.unwrap):
        with pytest.raises(VaultError, match="changed since it was read"):
            change()
    assert (tmp_path / "key").read_bytes() == before


def test_an_existing_file_in_clear_is_not_touched_by_a_start(tmp_path: Path) -> None:
    for content in (OTHER, b"# terminal 7\n" + base64.b64encode(OTHER) + b"\n", b"\n" + base64.b64encode(OTHER)):
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
        assert Vault.open_or_create(tmp_path / "key", [tmp_path], [in_file(tmp_path)]).key_id == id_of(OTHER)
        assert (tmp_path / "key").read_bytes() == content


def test_32_raw_bytes_are_a_key_also_where_they_look_like_words(tmp_path: Path) -> None:
    raw = b"wrapped 1 key:00000000 AAAAAAAAA"
    assert len(raw) == 32
    (tmp_path / "key").write_bytes(raw)
    (tmp_path / "key").chmod(0o600)
    assert Vault.open(tmp_path / "key").key_id == id_of(raw)


def test_keys_in_clear_that_a_power_cut_left_in_a_draft_are_swept_away(tmp_path: Path) -> None:
    vault = settled(tmp_path / "key", in_file(tmp_path))
    (tmp_path / "key.part").write_bytes(base64.b64encode(OTHER))
    vault.sweep()
    assert not (tmp_path / "key.part").exists()
    vault.sweep()
    assert Vault.open(tmp_path / "key", [in_file(tmp_path)]).key_id == vault.key_id


def test_nothing_of_it_shows_a_key(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "key", [in_file(tmp_path)])
    file.create()
    ring = file.load_waiting()
    for text in (repr(ring), str(ring), repr(vars(file)), repr(file.envelope()), repr(vars(in_file(tmp_path)))):
        assert not shows(text.encode(), ring)
        assert not shows(text.encode(), Keyring((bytes(range(32)),)))
