"""Keys of the bench. They are public, worthless, and must never be loaded into a terminal that takes real cards."""

from __future__ import annotations

UNIONPAY_MASTER_KEY = bytes.fromhex("31323334353637383837363534333231")
"""Terminal master key: working keys in element 62 of 0810 come encrypted under it (3DES-ECB)."""
UNIONPAY_PIK = bytes.fromhex("1C3D5E7F9BABCDEF0123456789ABCDE0")
"""PIN key delivered at sign-on."""
UNIONPAY_TDK = bytes.fromhex("2A4B6C8DAECF1032547698BADCFE1325")
"""Track key delivered at sign-on with network code 004."""
UNIONPAY_MAK_SINGLE = bytes.fromhex("0E329232EA6D0D73")
"""Single-length MAC key of the UnionPay lane."""
UNIONPAY_MAK_DOUBLE = bytes.fromhex("0E329232EA6D0D73A2B5C8D3E6F10426")
"""Double-length MAC key of the UnionPay lane; the default."""
ISO87_X919_KEY = bytes.fromhex("52A4C8E61032547668AC0E4286CA0EB6")
"""Double-length X9.19 key of the ISO 8583:1987 and 1993 lanes."""
