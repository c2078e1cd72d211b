"""Slips as pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.devices import slip_png
from hwsim.devices.paper import DOTS
from hwsim.devices.printer import Printer
from hwsim.errors import BenchError

image = pytest.importorskip("PIL.Image", reason="pip install 'pos-reversal-agent[bench]'")
LATIN = Path("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf")
needs_font = pytest.mark.skipif(not LATIN.exists(), reason="apt-get install fonts-dejavu-core")
STREAM = (
    b"\x1ba\x01\x1d!\x11BIG\n\x1d!\x00\x1ba\x00"
    + b"\x1bE\x01bold\x1bE\x00 \x1b-\x01under\x1b-\x00 \x1dB\x01white\x1dB\x00\n"
    + b"\x1dv0\x00\x02\x00\x08\x00"
    + b"\xff" * 16
    + b"\x1d(k\x08\x00\x31\x50\x30https\x1d(k\x03\x00\x31\x51\x30"
    + b"\x1dV\x00"
)


def printed() -> Printer:
    printer = Printer()
    printer.feed(STREAM, 0.0)
    return printer


@needs_font
def test_a_slip_becomes_a_picture_with_ink_on_it(tmp_path: Path) -> None:
    slip_png.save_png(printed().paper.cut_slips[0], tmp_path / "slip.png", LATIN)
    with image.open(tmp_path / "slip.png") as picture:
        assert picture.width == DOTS + 2 * slip_png.MARGIN
        shades = picture.histogram()
    assert shades[0] > 500
    assert shades[255] > shades[0]


@needs_font
def test_set_bits_of_an_image_are_black() -> None:
    printer = Printer()
    printer.feed(b"\x1dv0\x00\x01\x00\x01\x00\xf0\x1dV\x00", 0.0)
    picture = slip_png.draw(printer.paper.cut_slips[0], LATIN)
    row = [picture.getpixel((slip_png.MARGIN + x, slip_png.MARGIN + 4)) for x in range(8)]
    assert row == [0] * 4 + [255] * 4


@needs_font
def test_centred_text_stands_in_the_middle() -> None:
    printer = Printer()
    printer.feed(b"\x1ba\x01XX\n\x1dV\x00", 0.0)
    picture = slip_png.draw(printer.paper.cut_slips[0], LATIN)
    inked = [x for x in range(picture.width) for y in range(picture.height) if picture.getpixel((x, y)) < 128]
    assert abs((min(inked) + max(inked)) / 2 - picture.width / 2) < slip_png.CELL_WIDTH


def test_without_a_chinese_font_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slip_png, "CHINESE_FONTS", ())
    with pytest.raises(BenchError, match="no font with Chinese characters") as caught:
        slip_png.chinese_font()
    assert "apt-get install" in caught.value.hint


def test_a_file_that_is_no_font_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "not-a-font").write_text("hello")
    with pytest.raises(BenchError, match="is not a font"):
        slip_png.draw(printed().paper.cut_slips[0], tmp_path / "not-a-font")
