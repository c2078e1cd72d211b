"""From the configuration to the vault: what its key file may be wrapped under, and what can be said of that before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.private_file import is_credential
from agent.vault import Vault, VaultError

if TYPE_CHECKING:
    from agent.config_schema import Keys, Wrapping
    from agent.key_wrapper import KeyWrapper


def open_vault(keys: Keys) -> Vault:
    """The vault of the configured key file, which must exist. Raises VaultError."""
    return Vault.open(keys.data_key_file, wrappers(keys.wrappings))


def wrappers(wrappings: Sequence[Wrapping]) -> list[KeyWrapper]:
    """The sources in the order of the configuration. Nothing is read or run yet."""
    return [_wrapper(one) for one in wrappings]


def _wrapper(wrapping: Wrapping) -> KeyWrapper:
    if wrapping.program:
        from agent.wrapping_program import WrappingProgram  # only where there is one

        return WrappingProgram(wrapping.program, wrapping.timeout_s)
    from agent.wrapping_key import WrappingKey  # only where there is one

    if wrapping.key_file is not None:
        return WrappingKey.in_file(wrapping.key_file)
    return WrappingKey.in_credential(wrapping.credential)


def notes(keys: Keys) -> Iterator[str]:
    """What a person should know before the next start, found without running anything or opening the key file."""
    for index, one in enumerate(keys.wrappings):
        where, path = f"keys.wrapping[{index}]", one.key_file or Path(*one.program[:1])
        if not one.credential and not path.exists():
            yield f"{where}: {path} is not there now; the daemon does not start without it where it needs it"
        elif one.key_file and _one_medium(one.key_file, keys.data_key_file):
            yield f"{where}: {path} lies on the medium of the key file: whoever has the one has the other"
    if keys.wrappings or keys.data_key_file.exists():
        yield from _note_on_form(keys)


def out_of_reach(key_file: Path) -> bool:
    """Whether a vault that does not open here may well open elsewhere: the key file is wrapped, or a credential."""
    try:
        content = key_file.read_bytes()
    except OSError:
        return is_credential(key_file)
    from agent.key_envelope import is_wrapped  # only where something is wrong

    return is_wrapped(content)


def _note_on_form(keys: Keys) -> Iterator[str]:
    file = keys.data_key_file
    try:
        content = file.read_bytes()
    except OSError:
        return
    from agent.key_envelope import is_wrapped, label_of  # only for a check

    if not is_wrapped(content):
        if keys.wrappings:
            yield f"keys.data_key_file: {file} is in clear until reversalctl keys wrap or keys rotate"
        return
    try:
        label = label_of(file, content)
    except VaultError as error:
        yield f"keys.data_key_file: {error.text}; {error.hint}"
        return
    if not any(one.fits(label) for one in wrappers(keys.wrappings)):
        yield f"keys.data_key_file: {file} is wrapped, and no [[keys.wrapping]] names such a source: no start so"


def _one_medium(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_dev == (other if other.exists() else other.parent).stat().st_dev
    except OSError:
        return False
