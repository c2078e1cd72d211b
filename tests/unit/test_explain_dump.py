"""Hex dumps in every usual form give their bytes; anything else gives one clear error."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.hexdump import BYTES_MAX, TEXT_MAX, DumpError, read_dump

SAMPLE = bytes.fromhex("004E6003010000602200000000") + b"\x04\x00" + b"0123456789abcdef|* 12 34" + bytes(40)


def _canonical(data: bytes, width: int = 16) -> str:
    """As `hexdump -C` prints, "*" for repeated lines included."""
    lines, before, starred = [], b"", False
    for at in range(0, len(data), width):
        row = data[at : at + width]
        if row == before and len(row) == width:
            if not starred:
                lines.append("*")
            starred = True
            continue
        before, starred = row, False
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        lines.append(f"{at:08x}  {left:23}  {right:23}  |{shown}|")
    return "\n".join([*lines, f"{len(data):08x}"])


def _xxd(data: bytes, width: int = 16, prefix: str = "") -> str:
    lines = []
    for at in range(0, len(data), width):
        row = data[at : at + width]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        groups = " ".join(row[pair : pair + 2].hex() for pair in range(0, len(row), 2))
        lines.append(f"{prefix}{at:08x}: {groups:40} {shown}")
    return "\n".join(lines)


def _octal(data: bytes) -> str:
    lines = [f"{at:07o} {data[at : at + 16].hex(' ')}" for at in range(0, len(data), 16)]
    return "\n".join([*lines, f"{len(data):07o}"])


FORMS = {
    "plain": lambda data: data.hex(),
    "upper": lambda data: data.hex().upper(),
    "blanks": lambda data: data.hex(" "),
    "colons": lambda data: data.hex(":"),
    "lines": lambda data: "\n".join(data[at : at + 20].hex() for at in range(0, len(data), 20)),
    "0x bytes": lambda data: ", ".join(f"0x{byte:02x}" for byte in data),
    "0x once": lambda data: "0x" + data.hex(),
    "C string": lambda data: '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"',
    "C array": lambda data: "{" + ", ".join(f"0x{byte:02X}" for byte in data) + "};",
    "hexdump -C": _canonical,
    "xxd": _xxd,
    "tcpdump -x": lambda data: _xxd(data, prefix="\t0x"),
    "od -t x1": _octal,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_gives_the_bytes(form: str) -> None:
    assert read_dump(FORMS[form](SAMPLE)) == SAMPLE


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30, deadline=None)
@given(data=st.binary(min_size=1, max_size=100))
def test_a_form_never_changes_a_message(form: str, data: bytes) -> None:
    # Bytes that begin with zeros or end like an offset could be read as one; a message begins with its length or type.
    message = b"\x02" + data
    assert read_dump(FORMS[form](message)) == message


@given(st.text(max_size=300) | st.text(alphabet=string.hexdigits + " \n:|*0x", max_size=300))
@settings(deadline=None)
def test_any_text_gives_bytes_or_a_clear_error(text: str) -> None:
    found = _read(text)
    if isinstance(found, DumpError):
        assert found.text.startswith(f"line {found.line}, column {found.column}: ")
        assert found.text_zh
    else:
        assert 1 <= len(found) <= BYTES_MAX


def _read(text: str) -> bytes | DumpError:
    try:
        return read_dump(text)
    except DumpError as error:
        return error


def test_an_error_names_line_and_column_and_never_the_line() -> None:
    with pytest.raises(DumpError) as caught:
        read_dump("6212345678900000003\n12 3g")
    assert (caught.value.line, caught.value.column) == (2, 5)
    assert "62123" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "  \n", "0x", "1", "abc", "a" * (TEXT_MAX + 1), "00" * (BYTES_MAX + 1)])
def test_what_is_no_dump_is_refused(text: str) -> None:
    with pytest.raises(DumpError):
        read_dump(text)
