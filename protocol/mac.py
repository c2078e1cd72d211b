"""Message authentication codes: what is fed, the core that a PIN pad can do too, what stands in the MAC field.

Every algorithm is three steps: `prepare` (pad, fold), a core that needs the key, `finish` (cut, hex text). `compute`
does all three in software; with a PIN pad the middle step is the pad's command and the key never leaves it.
Input: from the MTI to the last element before the MAC, the MAC's bit set in the bitmap; no length, TPDU or header.
Sources: facts/iso8583.md section 2.4; ISO/IEC 9797-1:2011 (algorithm 1, 3; padding 1, 2), ANSI X9.9, X9.19.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol import ciphers
from protocol.errors import MacError, MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.rules import MacRules, Profile
from protocol.working_keys import WorkingKeys, key_check_value, unwrap_working_keys

__all__ = [
    "WorkingKeys",
    "carries_mac",
    "compute",
    "finish",
    "key_check_value",
    "mac_input",
    "place",
    "prepare",
    "reserve",
    "split",
    "unwrap_working_keys",
]


def _pad_zeros(data: bytes, block: int = 8) -> bytes:
    """Padding method 1 of ISO/IEC 9797-1: zeros to a whole block; nothing becomes one block."""
    return data + bytes(-len(data) % block if data else block)


def _pad_marked(data: bytes) -> bytes:
    """Padding method 2 of ISO/IEC 9797-1: one bit 1, then zeros."""
    return _pad_zeros(data + b"\x80")


def _fold(data: bytes, block: int) -> bytes:
    """UnionPay: the XOR of all blocks as upper-case hexadecimal text."""
    padded = _pad_zeros(data, block)
    total = 0
    for start in range(0, len(padded), block):
        total ^= int.from_bytes(padded[start : start + block], "big")
    return total.to_bytes(block, "big").hex().upper().encode("ascii")


def _as_it_is(data: bytes) -> bytes:
    return data


def _retail(key: bytes, data: bytes) -> bytes:
    """ISO/IEC 9797-1 algorithm 3: DES CBC with K1, the last block decrypted with K2 and encrypted with K1."""
    last = ciphers.des_cbc_mac(key[:8], _pad_zeros(data))
    return ciphers.des_encrypt(key[:8], ciphers.des_decrypt(key[8:], last))


def _cbc(key: bytes, data: bytes) -> bytes:
    return ciphers.des_cbc_mac(key, _pad_zeros(data))


_CORES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "retail": _retail,
    "cbc": _cbc,
    "cmac-aes": ciphers.aes_cmac,
    "cmac-3des": ciphers.des_cmac,
    "sm4-cbc": ciphers.sm4_cbc_mac,
}


@dataclass(frozen=True, slots=True)
class _Algorithm:
    """The core, the key lengths in bytes that make sense, and what is done to the data before."""

    core: str
    key_bytes: tuple[int, ...]
    prepare: Callable[[bytes], bytes]


_ALGORITHMS = {
    # UnionPay "ECB": two encryptions with an XOR between are CBC over the 16 characters of the folded message.
    "up-ecb": _Algorithm("cbc", (8, 16, 24), lambda data: _fold(data, 8)),
    "x919": _Algorithm("retail", (16,), _pad_zeros),
    "iso9797-3-pad1": _Algorithm("retail", (16,), _pad_zeros),
    "iso9797-3-pad2": _Algorithm("retail", (16,), _pad_marked),
    "x99": _Algorithm("cbc", (8,), _pad_zeros),
    "3des-cbc": _Algorithm("cbc", (16, 24), _pad_zeros),
    "cmac-aes": _Algorithm("cmac-aes", (16, 24, 32), _as_it_is),
    "cmac-3des": _Algorithm("cmac-3des", (16, 24), _as_it_is),
    # UnionPay with SM4: seen in code only (PAX EMac.CUP), no published vector.
    "up-sm4": _Algorithm("sm4-cbc", (16,), lambda data: _fold(data, 16)),
}


def compute(rules: MacRules, key: bytes, data: bytes) -> bytes:
    """Gives the 8 bytes for the MAC field. Raises MacError for a key that does not fit the algorithm."""
    algorithm = _algorithm(rules)
    if len(key) not in algorithm.key_bytes:
        wanted = " or ".join(map(str, algorithm.key_bytes))
        raise MacError(f"a key for {rules.algorithm} has {wanted} bytes, this one {len(key)}")
    core, fed = prepare(rules, data)
    return finish(rules, _CORES[core](key, fed))


def prepare(rules: MacRules, data: bytes) -> tuple[str, bytes]:
    """Gives the name of the core and what to feed it.

    Cores: "retail" (ISO/IEC 9797-1 algorithm 3, zero padding), "cbc" (DES or triple DES by key length),
    "cmac-aes", "cmac-3des", "sm4-cbc".
    """
    algorithm = _algorithm(rules)
    return algorithm.core, algorithm.prepare(data)


def finish(rules: MacRules, core: bytes) -> bytes:
    """Gives the 8 bytes of the MAC field from what the core gave (8 or 16 bytes)."""
    if len(core) < 8:
        raise MacError(f"the MAC core gave {len(core)} bytes, expected 8")
    if rules.output == "hex8":
        return core.hex().upper().encode("ascii")[:8]
    if rules.output == "binary4":
        return core[:4] + bytes(4)
    return core[:8]


def _algorithm(rules: MacRules) -> _Algorithm:
    algorithm = _ALGORITHMS.get(rules.algorithm)
    if algorithm is None:
        raise MacError(f"no MAC algorithm is called {rules.algorithm!r}")
    return algorithm


def carries_mac(rules: MacRules, mti: str) -> bool:
    """Tells whether the profile wants a MAC in messages of this type."""
    return rules.algorithm != "none" and mti[:2] in rules.classes


def reserve(profile: Profile, message: Message) -> Message:
    """Gives the message with a MAC field of zeros where the profile wants one: the slot that `place` fills."""
    rules = profile.mac
    if not carries_mac(rules, message.mti):
        return message
    field = 128 if any(number > 64 for number in message.fields) else rules.field or 64
    packing = profile.codec.packings.get(field)
    if packing is None:
        raise MessageError("the profile defines no element for the MAC of this message", field=field)
    return message.with_fields({field: "0" * (16 if packing.format.kind == "b" else packing.format.length)})


def mac_input(rules: MacRules, body: bytes) -> bytes:
    """Gives what the MAC is computed over: the message without its last field. Raises MacError when it has no MAC."""
    if not _has_mac(rules, body):
        raise MacError("the message has no MAC field")
    return body[: -rules.wire_bytes]


def split(profile: Profile, body: bytes) -> tuple[bytes, bytes] | None:
    """Gives MAC input and the 8 MAC bytes of a received message; None when it carries no MAC."""
    rules = profile.mac
    if rules.field is None or not _has_mac(rules, body):
        return None
    found = body[-rules.wire_bytes :]
    if rules.wire_bytes == 8:
        return body[:-8], found
    try:
        return body[:-16], bytes.fromhex(found.decode("ascii"))
    except ValueError:
        return body[:-16], b""


def place(profile: Profile, body: bytes, mac: bytes) -> bytes:
    """Gives the message with its MAC field filled. Raises MacError when it has none or the MAC is not of 8 bytes."""
    rules = profile.mac
    if len(mac) != 8:
        raise MacError(f"a MAC field has 8 bytes, not {len(mac)}")
    return mac_input(rules, body) + (mac if rules.wire_bytes == 8 else mac.hex().upper().encode("ascii"))


def _has_mac(rules: MacRules, body: bytes) -> bool:
    """Tells whether the last bit of the last bitmap is set: 64, or 128 where there is a second bitmap."""
    size = 8 if rules.bitmap_form == "binary" else 16
    start = rules.mti_bytes
    try:
        first = body[start] if size == 8 else int(body[start : start + 2], 16)
        end = start + size * (2 if first & 0x80 else 1)
        last = body[end - 1] if size == 8 else int(body[end - 1 : end], 16)
    except (IndexError, ValueError):
        return False
    return bool(last & 1) and len(body) >= end + rules.wire_bytes
