"""DES as payment devices use it: ECB under single, double and triple length keys, and the retail MAC.

Sources: FIPS 46-3; ISO/IEC 9797-1 MAC algorithm 3 (ANSI X9.19). Written apart from `protocol`, so that
the two check each other.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, modes

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # cryptography before version 43
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

BLOCK = 8


def _cipher(key: bytes) -> Cipher[modes.ECB]:
    triple = {8: key * 3, 16: key + key[:8], 24: key}.get(len(key))
    if triple is None:
        raise ValueError(f"a DES key has 8, 16 or 24 bytes, not {len(key)}")
    return Cipher(TripleDES(triple), modes.ECB())


def encrypt(key: bytes, data: bytes) -> bytes:
    """DES or 3DES in ECB mode; `data` is a whole number of 8-byte blocks."""
    encryptor = _cipher(key).encryptor()
    return bytes(encryptor.update(data) + encryptor.finalize())


def decrypt(key: bytes, data: bytes) -> bytes:
    """The inverse of `encrypt`."""
    decryptor = _cipher(key).decryptor()
    return bytes(decryptor.update(data) + decryptor.finalize())


def retail_mac(key: bytes, data: bytes) -> bytes:
    """ISO 9797-1 algorithm 3, zero padding, IV 0; with an 8-byte key it is the plain CBC MAC (X9.9)."""
    left, right = key[:8], key[8:16] or key[:8]
    padded = data + bytes(-len(data) % BLOCK)
    chain = bytes(BLOCK)
    for at in range(0, len(padded), BLOCK):
        chain = encrypt(left, xor(chain, padded[at : at + BLOCK]))
    return encrypt(left, decrypt(right, chain))


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
