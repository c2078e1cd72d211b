"""The PIN pad's keys and what it computes with them. Keys never leave this module in a text.

A working (session) key arrives encrypted under a master key, each 8-byte half decrypted alone (ECB).
PIN block: ANSI X9.8 = ISO 9564 format 0. MAC: ISO 9797-1 algorithm 3. Source: PP791 manual pp.202-234.
"""

from __future__ import annotations

from hwsim.devices.des import decrypt, encrypt, retail_mac, xor
from hwsim.errors import BenchError

PIN_SLOTS = "0123456789"
ALL_SLOTS = PIN_SLOTS + "ABCDEF"
KEY_HEX_LENGTHS = (16, 32, 48)

# Published test keys of the bench; the working keys stand here in clear and travel encrypted under "master".
TEST_KEYS: dict[str, str] = {
    "master": "0123456789ABCDEFFEDCBA9876543210",
    "pin": "11223344556677888877665544332211",
    "mac": "A1B2C3D4E5F60718192A3B4C5D6E7F80",
}


class KeyStore:
    """Master keys by slot."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}

    def load(self, slot: str, key_hex: str) -> None:
        """Raises BenchError (without the key) when the slot or the key is impossible."""
        if slot not in ALL_SLOTS or len(slot) != 1:
            raise BenchError(f"the PIN pad has no key slot '{slot}'", f"slots: {ALL_SLOTS}")
        if len(key_hex) not in KEY_HEX_LENGTHS or not is_hex(key_hex):
            raise BenchError("a master key has 16, 32 or 48 hexadecimal digits")
        self._keys[slot] = bytes.fromhex(key_hex)

    def erase(self) -> None:
        self._keys.clear()

    def has(self, slot: str) -> bool:
        return slot in self._keys

    def length(self, slot: str) -> int:
        return len(self._keys[slot])

    def slots(self) -> list[str]:
        return sorted(self._keys)

    def working_key(self, slot: str, encrypted_hex: str) -> bytes:
        return decrypt(self._keys[slot], bytes.fromhex(encrypted_hex))


def is_hex(text: str) -> bool:
    return bool(text) and all(character in "0123456789ABCDEFabcdef" for character in text)


def encrypted_under(master_hex: str, working_hex: str) -> str:
    """What the host would send: the working key encrypted under the master key."""
    return encrypt(bytes.fromhex(master_hex), bytes.fromhex(working_hex)).hex().upper()


def pin_block(working_key: bytes, pin: str, account: str) -> str:
    """The encrypted ISO-0 block, hex: PIN field XOR the 12 rightmost account digits without the check digit."""
    field = bytes.fromhex(f"0{len(pin):X}{pin}".ljust(16, "F"))
    digits = bytes.fromhex("0000" + account[:-1][-12:].rjust(12, "0"))
    return encrypt(working_key, xor(field, digits)).hex().upper()


def message_mac(working_key: bytes, data: bytes) -> str:
    return retail_mac(working_key, data).hex().upper()
