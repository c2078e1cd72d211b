"""The PIN pad's MAC packets: Z66 in, the text of Z67 out.

    Z66 6 00 0 <FS> [session key, 32 hex] <FS> [second key] <FS> [message]
        | |  key slot (empty: the selected one)
        | sequence 00..99, first packet 00
        flag: 4 last, 5 first or middle (the message is text); 6 last, 7 first or middle (the message is hex)

Sources: VeriFone MX800 guide pp.336-337 (flags); PP791 manual pp.231-234 (status codes, algorithm, "padding with
0"). Doubt: the MX800 guide pads with the character "0" (hex 30); whoever wants to be sure sends whole blocks.
"""

from __future__ import annotations

from hwsim.devices.ipp import FS
from hwsim.devices.pinpad_keys import ALL_SLOTS, KeyStore, is_hex, message_mac

MAX_MESSAGE = 224
OK, NEXT, SEQUENCE, KEY, SECOND_KEY, LENGTH, FLAG, MESSAGE, SESSION_KEY, MASTER_LENGTH = "0123456789"
LAST, MORE = ("4", "6"), ("5", "7")
BINARY = ("6", "7")


class MacSession:
    """Collects the packets of one MAC."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self.reset()

    def reset(self) -> None:
        self._data = b""
        self._next = 0
        self._key: tuple[str, str] | None = None

    def answer(self, text: str, selected: str) -> str:
        """Status and, with the last packet, the MAC in hex."""
        head, key_hex, second, message = [*text.split(FS, 3), "", "", "", ""][:4]
        flag, sequence, slot = head[:1], head[1:3], head[3:] or selected
        status = self._refusal(flag, sequence, slot, key_hex, second, message)
        if status:
            self.reset()
            return status
        self._data += bytes.fromhex(message) if flag in BINARY else message.encode("latin-1")
        self._next += 1
        self._key = (slot, key_hex)
        if flag in MORE:
            return NEXT
        mac = message_mac(self._keys.working_key(slot, key_hex), self._data)
        self.reset()
        return OK + mac

    def _refusal(self, flag: str, sequence: str, slot: str, key_hex: str, second: str, message: str) -> str:
        checks = (
            (flag not in LAST + MORE, FLAG),
            (sequence != f"{self._next:02d}", SEQUENCE),
            (slot not in tuple(ALL_SLOTS) or not self._keys.has(slot), KEY),
            (self._keys.has(slot) and self._keys.length(slot) == 8, MASTER_LENGTH),
            (second != "", SECOND_KEY),
            (len(key_hex) not in (16, 32) or not is_hex(key_hex) or set(key_hex) == {"0"}, SESSION_KEY),
            (self._key not in (None, (slot, key_hex)), SESSION_KEY),
            (not message or len(message) > MAX_MESSAGE, LENGTH),
            (flag in BINARY and len(message) % 2 == 1, LENGTH),
            (flag in BINARY and not is_hex(message), MESSAGE),
        )
        return next((code for wrong, code in checks if wrong), "")
