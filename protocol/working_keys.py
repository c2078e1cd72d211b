"""Working keys from a sign-on reply: element 62 unwrapped under the master key and checked. Pure.

UnionPay element 62 of the 0810 (facts/iso8583.md section 2.3; the 40-byte form proved with Ajsgn's published keys):
    24 bytes   PIK 8 + check 4 | MAK 8 + check 4
    40 bytes   PIK 16 + check 4 | MAK 16, or MAK 8 + 8 zeros, + check 4
    60 bytes   the same, then TDK 16 + check 4
Each key is encrypted with triple DES in ECB mode; the check value is the first 4 bytes of 3DES(key, 8 zero bytes).
"""

from __future__ import annotations

from protocol.ciphers import des_decrypt, des_encrypt
from protocol.errors import MacError
from protocol.frozen import dataclass

# Total bytes → lengths of the wrapped keys.
_LAYOUTS = {24: (8, 8), 40: (16, 16), 60: (16, 16, 16)}
_CHECK_BYTES = 4
_NAMES = ("PIN key", "MAC key", "track key")


@dataclass(frozen=True, slots=True, repr=False)
class WorkingKeys:
    """The keys of one session in the clear: for PIN blocks, MACs and tracks (b"" where there is none)."""

    pik: bytes
    mak: bytes
    tdk: bytes = b""

    def __repr__(self) -> str:
        return f"WorkingKeys(pik {len(self.pik)}, mak {len(self.mak)}, tdk {len(self.tdk)} bytes)"


def key_check_value(key: bytes) -> str:
    """Gives the check value of a DES key: the first 4 bytes of 3DES(key, zeros) as 8 hexadecimal characters."""
    return des_encrypt(key, bytes(8))[:_CHECK_BYTES].hex().upper()


def unwrap_working_keys(f62_hex: str, kek: bytes) -> WorkingKeys:
    """Gives the working keys of a sign-on reply. Raises MacError for a wrong length or a wrong check value."""
    try:
        block = bytes.fromhex(f62_hex)
    except ValueError:
        raise MacError("the key block is not hexadecimal") from None
    layout = _LAYOUTS.get(len(block))
    if layout is None:
        raise MacError(f"a key block has 24, 40 or 60 bytes, this one {len(block)}")
    keys, offset = [], 0
    for name, size in zip(_NAMES, layout, strict=False):
        end = offset + size
        keys.append(_unwrap(name, block[offset:end], block[end : end + _CHECK_BYTES], kek))
        offset = end + _CHECK_BYTES
    return WorkingKeys(*keys)


def _unwrap(name: str, wrapped: bytes, check: bytes, kek: bytes) -> bytes:
    """Gives one key; 8 bytes followed by 8 zeros are a single-length key in the place of a double one."""
    if len(wrapped) == 16 and wrapped[8:] == bytes(8):
        wrapped = wrapped[:8]
    key = des_decrypt(kek, wrapped)
    if key_check_value(key) != check.hex().upper():
        raise MacError(
            f"the check value of the {name} is wrong", hint="wrong master key or damaged key block: sign on again"
        )
    return key
