"""A slip as a picture, Chinese included, so that a person can look at it.

Pillow (extra `bench`) is loaded on use: nothing else in the bench needs it. Cells are those of font A: 12 by 24
dots, 24 by 24 for Chinese characters, 576 dots on a line.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.devices.paper import DOTS, Code, Raster, Run, Slip, Style, TextLine, cell_width
from hwsim.errors import BenchError

if TYPE_CHECKING:
    from PIL import Image, ImageFont

CELL_WIDTH, CELL_HEIGHT = 12, 24
MARGIN = 24
# Where Debian, Ubuntu, Raspberry Pi OS, Fedora and macOS keep fonts with Chinese characters.
CHINESE_FONTS = (
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/usr/share/fonts/truetype/arphic/uming.ttc",
    "/System/Library/Fonts/PingFang.ttc",
)
FONT_HINT = "install one: apt-get install fonts-wqy-microhei"


def chinese_font() -> Path:
    """The first font with Chinese characters found. Raises BenchError saying how to get one."""
    for name in CHINESE_FONTS:
        if Path(name).exists():
            return Path(name)
    raise BenchError("no font with Chinese characters was found, so the slip cannot be drawn", FONT_HINT)


def save_png(slip: Slip, path: Path, font: Path | None = None) -> None:
    """Draws the slip; `font` overrides the search. Raises BenchError without Pillow, font or a place to write."""
    image = draw(slip, chinese_font() if font is None else font)
    try:
        image.save(path, "PNG")
    except OSError as error:
        raise BenchError(f"the picture {path} cannot be written: {error.strerror}") from None


def draw(slip: Slip, font: Path) -> Image.Image:
    """The slip in black and white. Raises BenchError."""
    image_module, font_module = pillow()
    try:
        face = font_module.truetype(str(font), CELL_HEIGHT - 2)
    except OSError:
        raise BenchError(f"{font} is not a font that can be used", FONT_HINT) from None
    pieces = [drawn_part(part, face, image_module) for part in slip.parts]
    height = sum(piece.height for piece in pieces) + 2 * MARGIN
    image: Image.Image = image_module.new("L", (DOTS + 2 * MARGIN, height), 255)
    top = MARGIN
    for piece in pieces:
        image.paste(piece, (MARGIN, top))
        top += piece.height
    return image


def pillow() -> tuple[Any, Any]:
    """The two modules of Pillow used here."""
    try:
        from PIL import Image, ImageFont  # on use: an extra, and slow to load
    except ImportError:
        raise BenchError("Pillow is not installed", "pip install 'pos-reversal-agent[bench]'") from None
    return Image, ImageFont


def drawn_part(part: TextLine | Raster | Code, face: ImageFont.FreeTypeFont, image_module: Any) -> Image.Image:
    if isinstance(part, TextLine):
        return drawn_line(part, face, image_module)
    content = drawn_raster(part, image_module) if isinstance(part, Raster) else drawn_code(part, face, image_module)
    strip: Image.Image = image_module.new("L", (DOTS, content.height + 8), 255)
    strip.paste(content, (offset(part.align, content.width), 4))
    return strip


def drawn_line(line: TextLine, face: ImageFont.FreeTypeFont, image_module: Any) -> Image.Image:
    height = CELL_HEIGHT * max((run.style.height for run in line.runs), default=1) + 6
    strip: Image.Image = image_module.new("L", (DOTS, height), 255)
    left = offset(line.align, CELL_WIDTH * sum(run.columns for run in line.runs))
    for run in line.runs:
        drawn = drawn_run(run, face, image_module)
        strip.paste(drawn, (left, height - 6 - drawn.height))
        left += drawn.width
    return strip


def drawn_run(run: Run, face: ImageFont.FreeTypeFont, image_module: Any) -> Image.Image:
    """Characters in their cells, then stretched as the printer does."""
    from PIL import ImageDraw  # loaded already by `pillow`

    columns = sum(map(cell_width, run.text))
    ground, ink = (0, 255) if run.style.reverse else (255, 0)
    image: Image.Image = image_module.new("L", (max(columns, 1) * CELL_WIDTH, CELL_HEIGHT), ground)
    pen = ImageDraw.Draw(image)
    left = 0
    for character in run.text:
        for shift in (0, 1) if run.style.bold else (0,):
            pen.text((left + shift, -2), character, fill=ink, font=face)
        left += cell_width(character) * CELL_WIDTH
    if run.style.underline:
        pen.line((0, CELL_HEIGHT - 1, left, CELL_HEIGHT - 1), fill=ink)
    return image.resize((image.width * run.style.width, image.height * run.style.height))


def drawn_raster(raster: Raster, image_module: Any) -> Image.Image:
    wanted = raster.width_bytes * raster.height
    # In ESC/POS a set bit is a black dot, in Pillow a white one.
    bits = bytes(byte ^ 0xFF for byte in raster.bits[:wanted].ljust(wanted, b"\0"))
    picture: Image.Image = image_module.frombytes("1", (raster.width_bytes * 8, raster.height), bits).convert("L")
    return picture


def drawn_code(code: Code, face: ImageFont.FreeTypeFont, image_module: Any) -> Image.Image:
    """A real QR code where the package qrcode is there; else the text, framed by brackets."""
    text = Run(code.as_text(), Style())
    try:
        qrcode = import_module("qrcode")  # on use: not among the bench's own packages
    except ImportError:
        return drawn_run(text, face, image_module)
    if code.kind != "QR":
        return drawn_run(text, face, image_module)
    maker = qrcode.QRCode(box_size=code.module_dots, border=2)
    maker.add_data(code.data)
    picture: Image.Image = maker.make_image().get_image().convert("L")
    return picture


def offset(align: str, width: int) -> int:
    room = max(DOTS - width, 0)
    return {"left": 0, "center": room // 2, "right": room}[align]
