"""Who takes the working keys of a sign-on, the bench's software or the PIN pad, and proves their check values.

Rules not to break:
1. A key is used only after its check value was proved: the first 4 bytes of 3DES(key, 8 zero bytes).
2. With a PIN pad no key is ever in the clear here: the pad gets each key as the host sent it, encrypted under the
   master key, and proves it itself. The retail MAC (ISO 9797-1 algorithm 3) of one zero block is 3DES(key, zeros).
3. A device that does not answer proves nothing: `MacUnavailable`, and the sign-on is tried again.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator
from dataclasses import field
from typing import Protocol

from agent.macs import MacProvider, MacUnavailable, PinPadMac, SoftwareMac, Submit, pad_objection
from protocol.errors import AgentError, MacError
from protocol.frozen import dataclass
from protocol.mac import key_check_value, unwrap_working_keys
from protocol.rules import Profile
from protocol.secret import Key

# Element 62 of the 0810: total bytes → lengths of the wrapped keys; each is followed by its check value
# (facts: protocol/working_keys.py).
_LAYOUTS = {24: (8, 8), 40: (16, 16), 60: (16, 16, 16)}
_CHECK_BYTES = 4
_NAMES = ("PIN key", "MAC key", "track key")
WRONG_HINT = "the master key is another one than the bank's, or the key block is damaged: ask the bank for both"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """One key of the block, still encrypted under the master key."""

    name: str
    wrapped: bytes = field(repr=False)
    check: str


class KeyTaker(Protocol):
    """Proves and takes the keys of one lane."""

    async def prove(self, keys: str) -> str:
        """The check value of the MAC key, once all are proved. Raises MacError (wrong) or MacUnavailable (not now)."""

    def provider(self, keys: str) -> MacProvider:
        """Who computes MACs with these keys, which were proved before. Raises MacError."""


class NoKeyYet:
    """A lane whose first sign-on is still to come: nothing can be sent under a key."""

    async def mac(self, data: bytes) -> bytes:
        raise MacUnavailable("the lane has no working key yet: it has never signed on")

    def mac_now(self, data: bytes) -> bytes | None:
        return None

    async def verify(self, data: bytes, mac: bytes) -> bool:
        raise MacUnavailable("the lane has no working key yet: it has never signed on")

    def describe(self) -> str:
        return "none yet: waits for the first sign-on"


class SoftwareKeys:
    """The bench: the master key lies in a file. Never for a shop."""

    def __init__(self, profile: Profile, master: bytes | Key) -> None:
        self._profile = profile
        self._master = Key(master)

    async def prove(self, keys: str) -> str:
        """See KeyTaker; the codec's own check raises MacError naming the key."""
        mak = unwrap_working_keys(keys, self._master.raw()).mak
        SoftwareMac(self._profile.mac, mak)  # a length that the MAC algorithm cannot use is refused before it counts
        return key_check_value(mak)

    def provider(self, keys: str) -> MacProvider:
        return SoftwareMac(self._profile.mac, unwrap_working_keys(keys, self._master.raw()).mak)


class PadKeys:
    """The PIN pad holds the master key; `submit` runs work in its thread."""

    def __init__(self, profile: Profile, submit: Submit, timeout_s: float) -> None:
        self._profile = profile
        self._submit = submit
        self._timeout_s = timeout_s

    async def prove(self, keys: str) -> str:
        """See KeyTaker; one MAC of a zero block for each key."""
        block = wrapped_keys(keys)
        for key in block:
            await self._prove_one(key)
        mak = _named(block, "MAC key")
        if objection := pad_objection(self._profile.mac, mak.wrapped.hex()):
            raise MacError(objection, "ask the bank for a key of the other length, or use another profile")
        return mak.check

    def provider(self, keys: str) -> MacProvider:
        mak = _named(wrapped_keys(keys), "MAC key")
        return PinPadMac(self._profile.mac, self._submit, mak.wrapped.hex().upper(), self._timeout_s)

    async def _prove_one(self, key: WrappedKey) -> None:
        session_key = key.wrapped.hex().upper()
        try:
            async with asyncio.timeout(self._timeout_s):
                core = await self._submit(lambda pad: pad.mac(bytes(8), session_key), self._timeout_s)
        except TimeoutError:
            raise MacUnavailable(f"the PIN pad did not answer within {self._timeout_s:g} s") from None
        except (AgentError, OSError) as error:
            raise MacUnavailable(f"the PIN pad could not prove the {key.name}: {error}") from error
        if not hmac.compare_digest(core[:_CHECK_BYTES].hex().upper(), key.check):
            raise MacError(f"the check value of the {key.name} is wrong", WRONG_HINT)


def wrapped_keys(keys: str) -> tuple[WrappedKey, ...]:
    """The keys of a block (hexadecimal) as they came. Raises MacError for a length that no form has."""
    try:
        block = bytes.fromhex(keys)
    except ValueError:
        raise MacError("the key block is not hexadecimal", WRONG_HINT) from None
    layout = _LAYOUTS.get(len(block))
    if layout is None:
        raise MacError(f"a key block has 24, 40 or 60 bytes, this one {len(block)}", WRONG_HINT)
    return tuple(_split(block, layout))


def pin_key(keys: str) -> str:
    """The PIN key under the master key, hexadecimal, for the checkout's PIN entry."""
    return _named(wrapped_keys(keys), "PIN key").wrapped.hex().upper()


def _split(block: bytes, layout: tuple[int, ...]) -> Iterator[WrappedKey]:
    offset = 0
    for name, size in zip(_NAMES, layout, strict=False):
        wrapped, check = block[offset : offset + size], block[offset + size : offset + size + _CHECK_BYTES]
        if size == 16 and wrapped[8:] == bytes(8):  # a single-length key in the place of a double one
            wrapped = wrapped[:8]
        yield WrappedKey(name, wrapped, check.hex().upper())
        offset += size + _CHECK_BYTES


def _named(block: tuple[WrappedKey, ...], name: str) -> WrappedKey:
    return next(key for key in block if key.name == name)
