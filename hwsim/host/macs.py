"""Message authentication codes as the simulated host computes them; its own code, over `cryptography` alone.

Sources: the UnionPay ECB method and X9.19 (ISO 9797-1 algorithm 3, zero padding) as proved by published vectors.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.ciphers import Cipher, modes

from protocol.errors import MacError

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # cryptography before 43 (Debian 12 has 38) keeps it here
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES


def encrypt(key: bytes, data: bytes) -> bytes:
    """DES (8-byte key) or 3DES (16, 24) in ECB mode; `data` is whole blocks."""
    worker = Cipher(TripleDES(_triple(key)), modes.ECB()).encryptor()
    return worker.update(data) + worker.finalize()


def decrypt(key: bytes, data: bytes) -> bytes:
    worker = Cipher(TripleDES(_triple(key)), modes.ECB()).decryptor()
    return worker.update(data) + worker.finalize()


def check_value(key: bytes) -> bytes:
    """First four bytes of the encrypted zero block, as element 62 of 0810 carries them."""
    return encrypt(key, bytes(8))[:4]


def up_ecb(key: bytes, data: bytes) -> bytes:
    """UnionPay ECB: XOR of the blocks as hex text, encrypted in two halves; the result's first 8 hex characters."""
    text = _xor_of_blocks(data).hex().upper().encode("ascii")
    first = encrypt(key, text[:8])
    second = encrypt(key, _xor(first, text[8:]))
    return second.hex().upper()[:8].encode("ascii")


def x919(key: bytes, data: bytes) -> bytes:
    """X9.19: DES-CBC under the first half, the last block under both; zero padding, 8 binary bytes."""
    return _retail(key, _blocks(data))


def iso9797_3_pad2(key: bytes, data: bytes) -> bytes:
    """The same with padding method 2: 80 and zeros, always."""
    return _retail(key, _blocks(data + b"\x80"))


def x99(key: bytes, data: bytes) -> bytes:
    """X9.9: DES-CBC under one single-length key."""
    return _chain(key, _blocks(data))


def x919_hex8(key: bytes, data: bytes) -> bytes:
    """X9.19 as hex text, first 8 characters."""
    return x919(key, data).hex().upper()[:8].encode("ascii")


ALGORITHMS: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "up-ecb": up_ecb,
    "x919": x919,
    "x919-hex8": x919_hex8,
    "iso9797-3-pad2": iso9797_3_pad2,
    "x99": x99,
}


def compute(algorithm: str, key: bytes, data: bytes) -> bytes:
    """The eight MAC bytes. Raises MacError for an unknown algorithm or a key of the wrong length."""
    if algorithm not in ALGORITHMS:
        raise MacError(f"unknown MAC algorithm {algorithm!r}", f"use one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[algorithm](key, data)


def equal(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)


def _retail(key: bytes, blocks: list[bytes]) -> bytes:
    if len(key) != 16:
        raise MacError(f"X9.19 takes a key of 16 bytes, not {len(key)}")
    return encrypt(key[:8], decrypt(key[8:], _chain(key[:8], blocks)))


def _chain(key: bytes, blocks: list[bytes]) -> bytes:
    worker = Cipher(TripleDES(_triple(key)), modes.CBC(bytes(8))).encryptor()
    return (worker.update(b"".join(blocks)) + worker.finalize())[-8:]


def _triple(key: bytes) -> bytes:
    lengths = {8: key * 3, 16: key + key[:8], 24: key}
    if len(key) not in lengths:
        raise MacError(f"a DES key has 8, 16 or 24 bytes, not {len(key)}")
    return lengths[len(key)]


def _blocks(data: bytes) -> list[bytes]:
    padded = data + bytes(-len(data) % 8) if data else bytes(8)
    return [padded[start : start + 8] for start in range(0, len(padded), 8)]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _xor_of_blocks(data: bytes) -> bytes:
    result = bytes(8)
    for block in _blocks(data):
        result = _xor(result, block)
    return result
