"""Whatever the program of a secure element does, we go on, and no key is where it must not be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.key_wrapper import TOKEN_BYTES_MAX
from agent.vault_error import VaultError
from agent.wrapping_program import ANSWER_BYTES_MAX, WrappingProgram, objection
from tests.secure_element import SecureElement

KEY = bytes(range(32))
SHORT_S = 0.5


@pytest.fixture
def element(tmp_path: Path) -> SecureElement:
    return SecureElement(tmp_path / "element")


def shell(tmp_path: Path, script: str, timeout_s: float = 10.0) -> WrappingProgram:
    """A program in shell, as an integrator may write one."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return WrappingProgram([str(program), "first argument", "*"], timeout_s)


def running(marker: str) -> list[str]:
    """The processes that have this in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "cmdline").read_bytes().decode("utf-8", "replace"):
                found.append(entry.name)
        except OSError:
            continue  # it has ended meanwhile
    return [pid for pid in found if int(pid) != os.getpid()]


def gone(marker: str) -> bool:
    """Whether nothing of that program runs any more, within a second: a killed process takes a moment to go."""
    deadline = time.monotonic() + 1.0
    while running(marker):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_what_was_wrapped_is_unwrapped(element: SecureElement) -> None:
    label, token = element.wrapper().wrap(KEY)
    assert element.wrapper().fits(label)
    assert element.wrapper().unwrap(label, token) == KEY
    assert KEY not in token
    assert element.runs == ["wrap", "unwrap"]


def test_a_shell_script_will_do_and_gets_its_arguments_as_they_are(tmp_path: Path) -> None:
    """base64 of the key backwards: no element, but the whole interface."""
    program = shell(tmp_path, 'read -r verb data; printf "%s" "$verb|$#|$1|$2" > "$(dirname "$0")/heard"; echo "$data"')
    assert program.unwrap("program", KEY) == KEY
    assert (tmp_path / "heard").read_text() == "unwrap|2|first argument|*"


def test_the_program_gets_nothing_of_our_environment_but_where_its_credentials_are(
    element: SecureElement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of ours")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    element.wrapper().wrap(KEY)
    assert element.environments - {"LC_CTYPE"} == {"CREDENTIALS_DIRECTORY", "LANG", "PATH"}


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        ("absent", "says that its secure element is not there"),
        ("absent-now", "says that its secure element is not there now"),
        ("refuses", "says that its secure element refuses"),
        ("of-another", "says that another key or element wrapped this"),
        ("fails", "ended with 3"),
        ("crashes", "was ended by signal 11"),
        ("garbage", "gave an answer that is no line of base64"),
        ("says-nothing", "gave no answer"),
        ("floods", f"said more than {ANSWER_BYTES_MAX} bytes"),
    ],
)
def test_a_program_that_fails_is_told_from_another_and_its_words_are_not_repeated(
    element: SecureElement, mood: str, words: str
) -> None:
    element.be(mood)
    with pytest.raises(VaultError) as caught:
        element.wrapper().wrap(KEY)
    assert caught.value.text == f"wrapping program {element.program} {words}"
    assert "docs/security.md" in caught.value.hint


@pytest.mark.parametrize("mood", ["hangs", "hangs-at-once", "does-not-end", "leaves-a-child"])
def test_a_program_that_does_not_come_to_an_end_is_ended_with_all_that_it_started(
    element: SecureElement, mood: str
) -> None:
    element.be(mood)
    began = time.monotonic()
    with pytest.raises(VaultError, match=f"did not answer and end within {SHORT_S:g} s"):
        element.wrapper(SHORT_S).wrap(KEY)
    assert time.monotonic() - began < 20 * SHORT_S
    assert gone(str(element.directory))


def test_a_request_larger_than_a_pipe_does_not_make_us_wait_for_a_program_that_does_not_read(tmp_path: Path) -> None:
    """A pipe takes as little as 4 KiB where a user has many; a token has up to 4 KiB before base64."""
    program = shell(tmp_path, "exec sleep 600", SHORT_S)
    with pytest.raises(VaultError, match="did not answer"):
        program.unwrap("program", bytes(1 << 20))
    assert gone(str(tmp_path))


def test_a_program_need_not_read_what_it_does_not_need(tmp_path: Path) -> None:
    program = shell(tmp_path, "exec 0<&-; echo AAAA")
    assert program.wrap(KEY) == ("program", b"\0\0\0")


def test_what_it_leaves_in_the_background_does_not_run_on(tmp_path: Path) -> None:
    marker = f"6{os.getpid()}.5"
    program = shell(tmp_path, f"sleep {marker} > /dev/null & echo AAAA")
    assert program.wrap(KEY) == ("program", b"\0\0\0")
    assert gone(marker)


def test_only_32_bytes_are_a_key(element: SecureElement) -> None:
    label, token = element.wrapper().wrap(KEY)
    element.be("short")
    with pytest.raises(VaultError, match="gave 16 bytes for a key of 32"):
        element.wrapper().unwrap(label, token)


def test_the_longest_token_fits(tmp_path: Path) -> None:
    line = "head -c %d /dev/zero | base64 -w 0"
    assert len(shell(tmp_path, line % TOKEN_BYTES_MAX).wrap(KEY)[1]) == TOKEN_BYTES_MAX
    with pytest.raises(VaultError, match="said more than"):
        shell(tmp_path, line % (TOKEN_BYTES_MAX + 3)).wrap(KEY)


def test_another_element_says_so(element: SecureElement, tmp_path: Path) -> None:
    label, token = element.wrapper().wrap(KEY)
    with pytest.raises(VaultError, match="another key or element wrapped this"):
        SecureElement(tmp_path / "other").wrapper().unwrap(label, token)


# --- who may get a key -------------------------------------------------------------------------


def group_writes(program: Path) -> None:
    program.chmod(0o775)


def others_write(program: Path) -> None:
    program.chmod(0o757)


def is_no_program(program: Path) -> None:
    program.chmod(0o644)


def is_a_directory(program: Path) -> None:
    program.unlink()
    program.mkdir()


def stands_in_a_public_place(program: Path) -> None:
    program.parent.chmod(0o777)


def belongs_to_another(program: Path) -> None:
    os.chown(program, 12345, 12345)


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root may give files away")


@pytest.mark.parametrize(
    ("make_wrong", "words"),
    [
        (group_writes, "mode 0775: others may write to it"),
        (others_write, "mode 0757: others may write to it"),
        (is_no_program, "cannot be executed"),
        (is_a_directory, "cannot be executed"),
        (stands_in_a_public_place, "everybody may put another in its place"),
        pytest.param(belongs_to_another, "belongs to user 12345", marks=AS_ROOT),
    ],
)
def test_a_program_that_others_could_have_written_is_not_run(
    element: SecureElement, make_wrong: Callable[[Path], None], words: str
) -> None:
    make_wrong(element.program)
    assert words in objection(element.program)
    with pytest.raises(VaultError, match=words):
        element.wrapper().wrap(KEY)
    assert element.runs == []


def test_a_directory_for_all_is_no_danger_where_nobody_may_rename_what_belongs_to_others(
    element: SecureElement,
) -> None:
    """As /tmp."""
    element.directory.chmod(0o1777)
    assert objection(element.program) == ""


def test_a_link_is_looked_at_where_it_stands_and_where_it_leads(element: SecureElement, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    element.program.rename(real / "element")
    element.program.symlink_to(real / "element")
    assert objection(element.program) == ""
    for directory in (real, element.directory):
        directory.chmod(0o777)
        assert f"lies below {directory}" in objection(element.program)
        directory.chmod(0o755)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("missing", "cannot be started: No such file"),
        ("no-interpreter", "cannot be started: No such file"),
        ("relative", "is no absolute path"),
    ],
)
def test_a_program_that_cannot_be_started_is_named(element: SecureElement, what: str, words: str) -> None:
    wrapper = element.wrapper()
    if what == "missing":
        element.program.unlink()
    elif what == "no-interpreter":
        element.program.write_text("#!/nonexistent/interpreter\n")
    else:
        wrapper = WrappingProgram(["element"], 1.0)
    with pytest.raises(VaultError, match=words):
        wrapper.wrap(KEY)
