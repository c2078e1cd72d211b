"""Every byte of a message in words: envelope, type, bitmap, elements, and the damaged byte if there is one.

`explain(profile, data)` takes a whole frame or a bare message and never raises for what the bytes are. What it gives
may be shown to anyone:
1. Values go through `masking`; raw bytes of secret elements are not kept, those of the card number only as its mask.
2. In a damaged message elements may have slipped: private elements are hidden, so is the card number of element 2
   wherever else it lies, and without a sound element 2 everything that could be a card number or track. Nothing
   behind the damage is shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from protocol import masking
from protocol.anatomy import Anatomy, Damage, Piece, dissect
from protocol.elements import EBCDIC, ELEMENTS, element
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.meanings import ACTIONS, HEADER_CLASS, HEADER_STATE, Both, same
from protocol.rules import EnvelopeRules, Profile
from protocol.wordings import Around, Money, chip_tags, kind_name, meaning, minor_units, mti_meaning

HIDDEN = "**"

# What may stand before a message and is searched for: length 4, TPDU 5, header 32 at most.
_BEFORE_MAX = 41
# Elements that count as open and are free text in some dialects.
_OPEN_TEXTS = frozenset({60, 61})
# A damaged message is searched for card data up to here; what lies behind is hidden unseen.
_SEARCHED_MAX = 4096
_FOUND_MAX = 16  # bytes of a damage that are shown
# Shown also in a damaged message: short elements of fixed meaning. All others could be something else that slipped.
_SAFE = frozenset(
    {0, 1, 3, 4, 7, 11, 12, 13, 15, 18, 22, 23, 24, 25, 26, 32, 33, 37, 38, 39, 41, 42, 49, 60, 61, 70, 90}
)


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes with what they say. `kind`: length, tpdu, header, unknown, mti, bitmap, field. `hex`: pairs."""

    kind: str
    field: int
    offset: int
    hex: tuple[str, ...]
    title: Both
    value: str
    lines: tuple[Both, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A damaged place, offset from the first byte of the dump; texts and `hex` (if any) may be shown."""

    offset: int
    size: int
    field: int | None
    expected: Both
    found: Both
    hex: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one message by one profile. `fields`: number as text → masked value."""

    profile: Profile
    layout: str
    parts: tuple[Part, ...]
    mti: str
    kind: str
    fields: dict[str, str]
    chip: dict[str, str]
    trouble: Trouble | None
    shown: tuple[str, ...]
    score: int

    @property
    def fits(self) -> bool:
        """Nothing is damaged."""
        return self.trouble is None


def explain(profile: Profile, data: bytes, money: Money = minor_units) -> Explanation:
    """Gives the explanation by one profile: as the layout that fits, else the one that gets furthest."""
    found = [_explained(profile, data, layout, start, money) for layout, start in _layouts(profile)]
    if not any(one.fits for one in found) and (start := _hidden_start(profile, data)):
        found.append(_explained(profile, data, "unknown envelope", start, money))
    return max(found, key=lambda one: (one.fits, one.score))


def explain_auto(profiles: Sequence[Profile], data: bytes, money: Money = minor_units) -> list[Explanation]:
    """Gives the explanations by several profiles, the best first. Ties: in the order given."""
    return sorted((explain(profile, data, money) for profile in profiles), key=lambda one: (not one.fits, -one.score))


def _layouts(profile: Profile) -> list[tuple[str, int]]:
    """Where the message begins: after the whole envelope, at once, or after an envelope without its length."""
    rules = profile.envelope
    head = len(rules.tpdu) + len(rules.header)
    layouts = [("frame", rules.length_bytes + head), ("message", 0)]
    return [*layouts, ("without length", head)] if head else layouts


def _hidden_start(profile: Profile, data: bytes) -> int:
    """Where a sound message begins behind bytes that are not the profile's envelope; 0 where there is none."""
    return next((start for start in range(1, min(_BEFORE_MAX, len(data))) if _is_message(profile, data[start:])), 0)


def _is_message(profile: Profile, body: bytes) -> bool:
    try:
        profile.codec.unpack(body)
    except MessageError:
        return False
    return True


def _explained(profile: Profile, data: bytes, layout: str, start: int, money: Money) -> Explanation:
    envelope, damage = _envelope(profile, data, layout, start)
    body = data[start:]
    anatomy = dissect(profile, body)
    slipped = anatomy.damage or _refusal(profile, anatomy, body)
    damage = damage or _moved(slipped, start)
    pan = next((piece.value for piece in anatomy.pieces if piece.field == 2), "")
    mask = _Mask(body, _first_bitmap(profile, anatomy, slipped), slipped is not None, pan, anatomy.mti)
    around = Around(profile, anatomy.mti, {p.field: p.value for p in anatomy.pieces if p.field > 1}, money)
    parts = [*envelope, *(_part(piece, around, anatomy, mask, start) for piece in anatomy.pieces)]
    trouble = _trouble(damage, data, mask, start) if damage else None
    hexes = _shown(parts, len(data), trouble)
    fields = {str(part.field): part.value for part in parts if part.kind == "field"}
    message = Message(anatomy.mti, around.fields)
    chip = around.fields.get(55, "") if mask.open_to(55) else ""
    return Explanation(
        profile=profile,
        layout=layout,
        parts=tuple(parts),
        mti=anatomy.mti,
        kind=kind_name(message, profile) if anatomy.mti and damage is None else "",
        fields=fields,
        chip=dict(chip_tags(chip)),
        trouble=trouble,
        shown=hexes,
        score=_score(profile, data, layout, anatomy, message, damage),
    )


def _first_bitmap(profile: Profile, anatomy: Anatomy, damage: Damage | None) -> tuple[int, bool]:
    """The end of the first bitmap, and whether a second one is damaged: then it may be none, but the card number that
    a damaged first bit has made one of."""
    bitmap = next((piece for piece in anatomy.pieces if piece.field == 1), None)
    if bitmap is None:
        return 0, False
    end = bitmap.offset + (16 if profile.mac.bitmap_form == "hex" else 8)
    return end, damage is not None and damage.field == 1 and bitmap.size > end - bitmap.offset


def _moved(damage: Damage | None, start: int) -> Damage | None:
    return damage and replace(damage, offset=damage.offset + start)


def _refusal(profile: Profile, anatomy: Anatomy, body: bytes) -> Damage | None:
    """What the codec says against a message that the walk accepts."""
    try:
        profile.codec.unpack(body)
    except MessageError as error:
        size = next((piece.size for piece in anatomy.pieces if piece.field == error.field), 1)
        text = Both("the one right way to write it", "唯一正确的写法")
        return Damage(error.offset, size, error.field, text, Both(error.text, "编码方式不同"))
    return None


# --- envelope ----------------------------------------------------------------------------------


def _envelope(profile: Profile, data: bytes, layout: str, start: int) -> tuple[list[Part], Damage | None]:
    rules = profile.envelope
    if layout == "message":
        return [], None
    if layout == "unknown envelope":
        head = data[:start]
        part = Part("unknown", -1, 0, _pairs(head), Both("unknown envelope", "未知报文头"), "", ())
        expected = Both(f"the envelope of {profile.name}", f"{profile.name} 的报文头")
        found = Both(f"{start} other bytes before the message", f"报文前有 {start} 个其他字节")
        return [part], Damage(0, start, None, expected, found)
    at = rules.length_bytes if layout == "frame" else 0
    parts, damage = ([], None) if not at else _length(rules, data)
    tpdu = data[at : at + len(rules.tpdu)]
    header = data[at + len(tpdu) : start]
    if rules.tpdu and tpdu:
        parts.append(_tpdu(at, tpdu))
        if tpdu[0] != rules.tpdu[0]:
            expected = Both(f"TPDU id {rules.tpdu[0]:02X}", f"TPDU 标识 {rules.tpdu[0]:02X}")
            damage = damage or Damage(at, 1, None, expected)
    if rules.header and header:
        parts.append(_header(profile, at + len(tpdu), header))
    if len(data) < start and damage is None:
        expected = Both(f"an envelope of {start} bytes", f"报文头 {start} 字节")
        found = Both(f"{len(data)} bytes", f"{len(data)} 字节")
        damage = Damage(0, max(1, len(data)), None, expected, found)
    return parts, damage


def _length(rules: EnvelopeRules, data: bytes) -> tuple[list[Part], Damage | None]:
    raw = data[: rules.length_bytes]
    size = max(0, len(data) - (0 if rules.length_counts_itself else rules.length_bytes))
    text = raw.hex() if rules.length_form != "ascii" else raw.decode("latin-1")
    is_number = rules.length_form == "binary" or (text.isascii() and text.isdigit())
    number = int(text, 16 if rules.length_form == "binary" else 10) if is_number and raw else -1
    line = Both(f"{number} bytes follow", f"后续 {number} 字节")
    part = Part("length", -1, 0, _pairs(raw), Both("length", "长度"), str(number) if is_number else "", (line,))
    if number == size:
        return [part], None
    expected = Both(f"length {size} (bytes that are there)", f"长度 {size}（实际字节数）")
    found = Both(f"length {number}", f"长度 {number}") if is_number else None
    return [part], Damage(0, max(1, len(raw)), None, expected, found)


def _tpdu(at: int, raw: bytes) -> Part:
    text = raw.hex().upper()
    lines = (
        Both(f"id {text[:2]}", f"标识 {text[:2]}"),
        Both(f"destination {text[2:6]}", f"目的地址 {text[2:6]}"),
        Both(f"source {text[6:]}", f"源地址 {text[6:]}"),
    )
    return Part("tpdu", -1, at, _pairs(raw), same("TPDU"), text, lines)


def _header(profile: Profile, at: int, raw: bytes) -> Part:
    text = raw.hex().upper()
    lines: list[Both] = []
    if len(raw) == 6:
        group = HEADER_CLASS.get(text[:2], Both("unknown class", "未知类别"))
        state = HEADER_STATE.get(text[4], Both("unknown state", "未知状态"))
        lines = [
            Both(f"application class {text[:2]}: {group.en}", f"应用类别 {text[:2]}：{group.zh}"),
            Both(f"software version {text[2:4]}", f"软件总版本号 {text[2:4]}"),
            Both(f"terminal state {text[4]}: {state.en}", f"终端状态 {text[4]}：{state.zh}"),
        ]
    nibble = profile.envelope.requirement_nibble
    if 0 <= nibble < len(text):
        wish = int(text[nibble], 16)
        action = ACTIONS.get(
            profile.session.requirements.get(wish, ""), Both("not known to the profile", "配置中未定义")
        )
        lines.append(Both(f"requirement {text[nibble]}: {action.en}", f"处理要求 {text[nibble]}：{action.zh}"))
    if len(raw) == 6:
        lines.append(Both(f"sub-version {text[6:]}", f"软件分版本号 {text[6:]}"))
    return Part("header", -1, at, _pairs(raw), Both("header", "报文头"), text, tuple(lines))


# --- elements, masked --------------------------------------------------------------------------


_TOTALS_OR_DETAILS, _COUNT, _TOTALS = 48, 4, 62  # element 48 and the digits of its harmless forms (UnionPay)


class _Mask:
    """What of a body may be shown (rule 2 above)."""

    def __init__(self, body: bytes, first_bitmap: tuple[int, bool], damaged: bool, pan: str, mti: str) -> None:
        end, all_behind = first_bitmap
        self._damaged = damaged
        self._class = mti[1:2]
        self._secret = frozenset(range(end, len(body))) if all_behind else frozenset[int]()
        if damaged and not all_behind:
            self._secret = _card_bytes(body, end, pan)

    def open_to(self, field: int) -> bool:
        """Whether an element may show what its secrecy allows."""
        return not self._damaged or field in _SAFE or field == 2

    def open_in_damage(self, field: int) -> bool:
        """Whether the damaged bytes of an element may be shown."""
        return field in _SAFE

    def hides(self, offset: int, size: int) -> bool:
        """Whether some of these bytes could be card data."""
        return any(place in self._secret for place in range(offset, offset + size))

    def value(self, piece: Piece) -> str:
        """The value that may be shown."""
        if piece.field > 1 and (
            not self.open_to(piece.field) or (piece.field != 2 and self.hides(piece.offset, piece.size))
        ):
            return f"<hidden {len(piece.value)}>"
        if piece.field == _TOTALS_OR_DETAILS and self._class == "5" and len(piece.value) == _TOTALS:
            return piece.value  # amounts and counts: what looks like a card number in them is none
        if piece.field == _TOTALS_OR_DETAILS and self._class == "3" and len(piece.value) > _COUNT:
            return f"<hidden {len(piece.value)}>"  # an upload: the lines beneath say what may be said
        shown = masking.show(piece.field, piece.value) if piece.field > 1 else piece.value
        is_free_text = piece.field in _OPEN_TEXTS and not piece.value.isdigit()
        return masking.scrub(shown) if is_free_text else shown

    def pairs(self, piece: Piece, shown: str) -> tuple[str, ...]:
        """The bytes, one pair each, as far as the value itself may be shown."""
        if shown == piece.value:
            return _pairs(piece.indicator + piece.data)
        if piece.field == 2 and len(shown) == len(piece.value):
            return _pairs(piece.indicator) + _masked_pairs(piece, shown)
        return _pairs(piece.indicator) + (HIDDEN,) * len(piece.data)


def _masked_pairs(piece: Piece, shown: str) -> tuple[str, ...]:
    """The bytes of a card number by its mask: digits that the mask hides are hidden in the bytes too."""
    if len(piece.data) == len(piece.value):
        return tuple(HIDDEN if mark == "*" else f"{byte:02X}" for mark, byte in zip(shown, piece.data, strict=True))
    text = piece.data.hex().upper()
    start = text.find(piece.value)
    masked = text[: max(0, start)] + shown + text[max(0, start) + len(shown) :]
    return tuple(masked[place : place + 2] for place in range(0, len(masked), 2))


def _card_bytes(body: bytes, behind_bitmap: int, pan: str) -> frozenset[int]:
    """Offsets of all bytes that could belong to a card number or to the track behind it, in BCD or in ASCII.

    `pan`: what was read as element 2. Where that is sound, the card number is known and nothing else is one.
    """
    found = set(range(_SEARCHED_MAX, len(body)))
    head = body[behind_bitmap:_SEARCHED_MAX]
    is_sound = len(pan) >= _SOUND_PAN_MIN and masking.passes_luhn(pan)
    for text, width in ((head.hex().upper(), 2), (head.decode("latin-1"), 1), (head.decode(EBCDIC), 1)):
        for start, end in _places_of(pan, text) if is_sound else _card_stretches(text):
            found.update(range(behind_bitmap + start // width, behind_bitmap + (end + width - 1) // width))
    return frozenset(found)


# Shorter ones are rare, and could be a longer one that was cut by a damaged length.
_SOUND_PAN_MIN = 15
_RUN_MAX = 300  # digits; no sound message has such a run, and its stretches would take seconds
_RUN = re.compile(r"[0-9]{13,}")
_TRACK_REST = re.compile(r"[=D][0-9]*")


def _places_of(pan: str, text: str) -> list[tuple[int, int]]:
    return [(found.start(), found.end()) for found in re.finditer(f"{pan}(?:{_TRACK_REST.pattern})?", text)]


def _card_stretches(text: str) -> list[tuple[int, int]]:
    """Every stretch of digits with a right check digit, and the track behind it."""
    stretches = []
    for run in _RUN.finditer(text):
        if run.end() - run.start() > _RUN_MAX:
            stretches.append(run.span())
            continue
        for start in range(run.start(), run.end() - 12):
            for size in range(13, min(19, run.end() - start) + 1):
                if masking.passes_luhn(text[start : start + size]) and text[start] in "23456789":
                    rest = _TRACK_REST.match(text, start + size)
                    stretches.append((start, rest.end() if rest else start + size))
    return stretches


def _part(piece: Piece, around: Around, anatomy: Anatomy, mask: _Mask, start: int) -> Part:
    at = piece.offset + start
    if piece.field == 0:
        return Part("mti", 0, at, _pairs(piece.data), same("MTI"), piece.value, (mti_meaning(piece.value),))
    if piece.field == 1:
        return _bitmap_part(piece, anatomy, mask, at)
    about = element(piece.field)
    shown = mask.value(piece)
    may_mean = mask.open_to(piece.field) and not (piece.field != 2 and mask.hides(piece.offset, piece.size))
    lines = meaning(piece.field, piece.value, around) if may_mean else ()
    title = Both(about.name, about.name_zh if piece.field in ELEMENTS else f"域{piece.field}")
    return Part("field", piece.field, at, mask.pairs(piece, shown), title, shown, lines)


def _bitmap_part(piece: Piece, anatomy: Anatomy, mask: _Mask, at: int) -> Part:
    """The bitmaps and what they name; of a second one that could be a card number, nothing."""
    half = next((size for size in (8, 16) if piece.size in (size, 2 * size)), piece.size)
    if piece.size == 16 and len(piece.value) == 16:
        half = 16  # one bitmap as text
    hides = piece.size > half and mask.hides(piece.offset + half, half)
    bits = [bit for bit in anatomy.bits if bit <= 64 or not hides]
    pairs = _pairs(piece.data[:half]) + ((HIDDEN,) * half if hides else _pairs(piece.data[half:]))
    value = piece.value[:16] + f"<hidden {len(piece.value) - 16}>" if hides else piece.value
    return Part("bitmap", 1, at, pairs, Both("bitmap", "位图"), value, (same(" ".join(map(str, bits))),))


def _pairs(raw: bytes) -> tuple[str, ...]:
    return tuple(f"{byte:02X}" for byte in raw)


def _shown(parts: Sequence[Part], size: int, trouble: Trouble | None) -> tuple[str, ...]:
    """One pair for every byte of the dump; ".." where nothing could be decoded."""
    pairs = [".."] * size
    for part in parts:
        pairs[part.offset : part.offset + len(part.hex)] = part.hex
    if trouble is not None and trouble.hex:
        pairs[trouble.offset : trouble.offset + len(trouble.hex)] = trouble.hex
    return tuple(pairs[:size])


def _trouble(damage: Damage, data: bytes, mask: _Mask, start: int) -> Trouble:
    """The damage as it may be shown: with its bytes where they are no secret."""
    raw = data[damage.offset : damage.offset + damage.size]
    secret = damage.field is not None and damage.field > 1 and not mask.open_in_damage(damage.field)
    hidden = secret or mask.hides(damage.offset - start, damage.size) or len(raw) > _FOUND_MAX
    found = damage.found
    if found is None:
        hexes = Both(f"{len(raw)} other bytes (not shown)", f"其他 {len(raw)} 字节（不显示）")
        found = hexes if hidden else same(raw.hex(" ").upper() or "-")
        return Trouble(damage.offset, damage.size, damage.field, damage.expected, found, () if hidden else _pairs(raw))
    return Trouble(damage.offset, damage.size, damage.field, damage.expected, found, ())


# --- which profile fits best -------------------------------------------------------------------


def _score(
    profile: Profile, data: bytes, layout: str, anatomy: Anatomy, message: Message, damage: Damage | None
) -> int:
    """How well the bytes fit. A message that fits: small signs; one that does not: how far it could be read."""
    if damage is not None and layout != "unknown envelope":
        # The envelope's own damage does not hide that the message behind it is whole.
        return anatomy.end + (1000 if anatomy.damage is None else 0) + (5 if layout == "frame" else 0)
    points = {"frame": 40, "without length": 20, "message": 10, "unknown envelope": 1}[layout]
    at = profile.envelope.length_bytes if layout == "frame" else 0
    if layout in ("frame", "without length"):
        points += 3 * (data[at : at + len(profile.envelope.tpdu)] == profile.envelope.tpdu)
    versions = {mti[0] for mti in profile.reversal.types.values()}
    points += 3 * (message.mti[0] in versions)
    points += 2 * bool(kind_name(message, profile)) + _mac_points(profile, message) + _shape_points(profile, message)
    return points + (1000 if damage is not None else 0)


def _mac_points(profile: Profile, message: Message) -> int:
    """Whether the MAC looks as this profile writes it: characters, 8 bytes, 4 bytes."""
    value = message.get(64) or message.get(128)
    wanted = profile.mac.algorithm != "none" and message.mti[:2] in profile.mac.classes
    if not value:
        return -4 if wanted else 2
    if profile.mac.algorithm == "none" or len(value) != 16:
        return -2
    is_text = all(byte in b"0123456789ABCDEF" for byte in bytes.fromhex(value))
    form = "hex8" if is_text else "binary4" if value.endswith("00000000") else "binary8"
    return 8 if form == profile.mac.output else -4


def _shape_points(profile: Profile, message: Message) -> int:
    """Whether a reversal has the elements that this profile gives to one."""
    rules = profile.reversal
    if message.mti not in rules.types.values():
        return 0
    usual = {*rules.keep, *rules.templates, rules.reason_field, rules.chip_field, 64, 128}
    usual |= {field for kind in profile.kinds.values() for field in kind.reversal_templates}
    return 3 if set(message.fields) <= usual else 0
