"""Loading of host profiles: TOML, one dialect a file, `extends` for all but the differences, everything checked.

Rules: a key that is unknown, missing or of the wrong type is a ProfileError that names file, line and key;
a profile that would put card secrets into a reversal does not load. This is the only file of `protocol/`
that reads files: the profiles beside it, and those in the directories that the caller names.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from protocol.errors import ProfileError
from protocol.iso8583 import Codec
from protocol.profile_notices import read_batch_upload, read_script_result
from protocol.profile_policy import read_matching, read_responses, read_retry, read_session
from protocol.profile_sections import (
    read_envelope,
    read_kinds,
    read_mac,
    read_packings,
    read_request,
    read_reversal,
)
from protocol.rules import Profile
from protocol.tables import Source, Table

__all__ = ["Profile", "check_profile", "load_profile", "profile_names"]

_SHIPPED = Path(__file__).with_name("profiles")
_CATALOGUE = "response-codes"
_DEPTH_MAX = 8  # a chain of `extends` longer than this is a circle


def profile_names() -> list[str]:
    """Gives the names of the profiles that come with the program."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml") if path.stem != _CATALOGUE)


def load_profile(name_or_path: str, directories: Sequence[Path | str] = ()) -> Profile:
    """Gives a host profile by name ("unionpay-pos") or path ("/etc/pos/ourbank.toml"), found in `directories` first.

    Raises ProfileError with file, line and key when anything about it is wrong.
    """
    name, root, sections = _open(name_or_path, directories)
    profile = Profile(name=name, **{section: read() for section, read in sections})
    root.done()
    return profile


def check_profile(name_or_path: str, directories: Sequence[Path | str] = ()) -> list[ProfileError]:
    """Gives everything that is wrong with a profile, nothing when `load_profile` accepts it."""
    errors: list[ProfileError] = []
    try:
        _, root, sections = _open(name_or_path, directories, errors)
        for _, read in sections:
            read()
        root.done()
    except ProfileError as error:  # no file, no TOML, a circle: nothing more can be said
        errors.append(error)
    return errors


def _open(
    name_or_path: str, directories: Sequence[Path | str], errors: list[ProfileError] | None = None
) -> tuple[str, Table, Iterator[tuple[str, Callable[[], Any]]]]:
    """Gives name and tables of a profile, and its sections with their readers; `errors` as in `Source`."""
    places = [Path(directory) for directory in directories]
    data, files, name = _read_chain(name_or_path, places)
    root = Table(data, Source(files, errors))
    root.text("extends", "")
    return name, root, _sections(root, places, errors)


def _read_chain(name: str, places: Sequence[Path]) -> tuple[dict[str, Any], list[tuple[str, str]], str]:
    """Gives the merged tables, the files they come from (special first) and the profile's name."""
    chain: list[dict[str, Any]] = []
    files: list[tuple[str, str]] = []
    wanted, own_name, origin = name, "", ""
    while wanted:
        path = _find(wanted, places, origin)
        data, text = _read(path)
        if len(chain) >= _DEPTH_MAX:
            raise ProfileError("`extends` goes in a circle", where=f"{files[0][0]}, key extends")
        chain.append(data)
        files.append((path.name, text))
        own_name = own_name or path.stem
        wanted, origin = data.get("extends", ""), path.name
        if not isinstance(wanted, str):
            raise ProfileError("must be a string", where=f"{path.name}, key extends")
    merged: dict[str, Any] = {}
    for data in reversed(chain):
        merged = _merge(merged, data)
    return merged, files, own_name


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Gives tables with the keys of `over` in place of those of `base`, tables merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _find(name: str, places: Sequence[Path], origin: str) -> Path:
    """Gives the file of a profile: a path, or a name looked up in the caller's directories, then in ours."""
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    for place in (*places, _SHIPPED):
        path = place / f"{name}.toml"
        if path.is_file():
            return path
    known = ", ".join(profile_names())
    where = f"{origin}, key extends" if origin else ""
    raise ProfileError(f"no profile is called {name!r}", where=where, hint=f"known: {known}")


def _read(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = path.read_text("utf-8")
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"is not TOML: {error}", where=path.name) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"cannot be read: {error}", where=path.name) from None


def _sections(
    root: Table, places: Sequence[Path], errors: list[ProfileError] | None
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Gives each section of a profile with its reader. The elements come first: all others refer to them."""
    message = root.table("message")
    packings = read_packings(root.table("elements"), message)
    bitmap = message.text("bitmap", None, ("binary", "hex"))
    codec = Codec(packings.values(), message.text("mti", None, ("bcd", "ascii", "ebcdic")), bitmap)
    message.done()
    fields = frozenset(packings) if packings or errors is None else frozenset(range(2, 129))

    def catalogue(name: str) -> Table:
        try:
            path = _find(name, places, "")
            codes, text = _read(path)
        except ProfileError as error:
            if errors is None:
                raise
            errors.append(error)
            return Table({"codes": {}}, Source([(name, "")]))
        return Table(codes, Source([(path.name, text)], errors))

    def approved() -> frozenset[str]:
        return frozenset(root.table("responses").texts("approved"))

    yield "title", lambda: root.text("title")
    yield "confirm", lambda: root.text("confirm", None, ("on-approval", "by-application"))
    yield "confirm_timeout_s", lambda: root.real("confirm_timeout_s")
    yield "envelope", lambda: read_envelope(root.table("envelope"))
    yield "codec", lambda: codec
    yield "request", lambda: read_request(root.table("request"), fields)
    yield "kinds", lambda: read_kinds(root.table("kinds"), fields)
    yield "reversal", lambda: read_reversal(root.table("reversal"), fields, codec)
    yield "mac", lambda: read_mac(root.table("mac"), packings, codec, bitmap, approved())
    yield "responses", lambda: read_responses(root.table("responses"), catalogue)
    yield "matching", lambda: read_matching(root.table("matching"), fields)
    yield "retry", lambda: read_retry(root.table("retry"))
    yield "session", lambda: read_session(root.table("session"), fields)
    yield "script_result", lambda: read_script_result(root.table("script_result", optional=True), fields)
    names = root.table("session").table("messages").names
    yield "batch_upload", lambda: read_batch_upload(root.table("batch_upload", optional=True), names())
