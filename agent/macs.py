"""Who computes message authentication codes: the PIN pad, software (bench only), or nobody.

Rules not to break:
1. A hung or unplugged device never blocks the event loop: every wait has a deadline and ends in
   `MacUnavailable`.
2. Codes are compared in constant time.
3. Keys appear in no repr and no text.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Protocol

from agent.outcomes import MacVerdict
from protocol.errors import AgentError, MacError, ProtocolError
from protocol.mac import compute, finish, prepare, split
from protocol.rules import MacRules, Profile
from protocol.secret import Key

# The only MAC command of the PIN pad family in use: ISO 9797-1 algorithm 3 with zero padding
# (ANSI X9.19), 8 bytes (drivers/pinpad_ipp.py).
PAD_CORE = "retail"
SINGLE_LENGTH_HEX, DOUBLE_LENGTH_HEX = 16, 32
PAD_MAC_BYTES = 8
# An algorithm whose input is always two blocks: chained by us, they cost the pad two commands.
TWO_BLOCKS = "up-ecb"


class MacUnavailable(AgentError):
    """The device that holds the key does not answer now; later it may."""

    code = "E-MAC-DEVICE"

    def __init__(self, text: str) -> None:
        super().__init__(text, "check the PIN pad's cable and power; the message waits for it")


class MacProvider(Protocol):
    """Computes and checks the MAC of a message with the lane's key of the day."""

    async def mac(self, data: bytes) -> bytes:
        """MAC field of `data` (`protocol.mac.mac_input`). Raises MacUnavailable, MacError."""

    def mac_now(self, data: bytes) -> bytes | None:
        """The same where it takes no wait; None where a device must be asked."""

    async def verify(self, data: bytes, mac: bytes) -> bool:
        """Whether `mac` belongs to `data`. Raises MacUnavailable, MacError."""

    def describe(self) -> str:
        """For status: who computes, by what algorithm."""


class NoMac:
    """A lane without message authentication."""

    async def mac(self, data: bytes) -> bytes:
        """Never asked for by the host link; an empty MAC."""
        return b""

    def mac_now(self, data: bytes) -> bytes | None:
        """The same."""
        return b""

    async def verify(self, data: bytes, mac: bytes) -> bool:
        """Never true: nothing was checked."""
        return False

    def describe(self) -> str:
        return "none"


class SoftwareMac:
    """The key lies in this process's memory: for the bench, never for a shop. Raises MacError."""

    def __init__(self, rules: MacRules, key: bytes | Key) -> None:
        self._rules = rules
        self._key = Key(key)
        compute(rules, self._key.raw(), bytes(8))  # a key of a wrong length is refused here, not at the first sale

    async def mac(self, data: bytes) -> bytes:
        return self.mac_now(data)

    def mac_now(self, data: bytes) -> bytes:
        return compute(self._rules, self._key.raw(), data)

    async def verify(self, data: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(self.mac_now(data), mac)

    def describe(self) -> str:
        return f"software, for the bench only ({self._rules.algorithm})"


class PinPad(Protocol):
    """What is needed of the driver; runs in the device's own thread."""

    def mac(self, data: bytes, session_key_hex: str) -> bytes: ...


Submit = Callable[[Callable[[PinPad], bytes], float], Awaitable[bytes]]


def pad_objection(rules: MacRules, session_key_hex: str) -> str:
    """Why a pad that only does algorithm 3 cannot make this MAC; "" if it can.

    With a single-length key algorithm 3 is the plain CBC MAC: K1 = K2, and its last two steps undo each other. With a
    double-length key it is triple DES of a single block, of which triple DES CBC can be made block by block.
    """
    core, _ = prepare(rules, bytes(8))
    if core == PAD_CORE or (core == "cbc" and len(session_key_hex) == SINGLE_LENGTH_HEX):
        return ""
    if _by_blocks(rules, session_key_hex):
        return ""
    return f"a PIN pad computes {PAD_CORE!r} MACs only; {rules.algorithm!r} with this key needs {core!r}"


def _by_blocks(rules: MacRules, session_key_hex: str) -> bool:
    """Whether the pad makes the core of this MAC one block at a time."""
    return rules.algorithm == TWO_BLOCKS and len(session_key_hex) == DOUBLE_LENGTH_HEX


class PinPadMac:
    """The key never leaves the PIN pad; the pad computes the core, `protocol.mac` the rest.

    `submit(work, timeout_s)` runs `work` in the device's thread. `session_key_hex` is the working
    key under the pad's master key. Raises MacError when the pad cannot do this algorithm.
    """

    def __init__(self, rules: MacRules, submit: Submit, session_key_hex: str, timeout_s: float) -> None:
        if objection := pad_objection(rules, session_key_hex):
            raise MacError(objection, "use another profile, a pad that can do it, or (bench only) the software MAC")
        self._rules = rules
        self._submit = submit
        self._session_key_hex = session_key_hex
        self._timeout_s = timeout_s
        self._core = _chained if _by_blocks(rules, session_key_hex) else _at_once

    async def mac(self, data: bytes) -> bytes:
        _, prepared = prepare(self._rules, data)
        return finish(self._rules, await self._ask(prepared))

    def mac_now(self, data: bytes) -> bytes | None:
        return None

    async def verify(self, data: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(await self.mac(data), mac)

    def describe(self) -> str:
        return f"PIN pad ({self._rules.algorithm})"

    async def _ask(self, prepared: bytes) -> bytes:
        """The pad's answer within the deadline; whatever goes wrong there becomes MacUnavailable."""
        core, key = self._core, self._session_key_hex
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._submit(lambda pad: core(pad, prepared, key), self._timeout_s)
        except TimeoutError:
            raise MacUnavailable(f"the PIN pad did not answer within {self._timeout_s:g} s") from None
        except MacUnavailable:
            raise
        except (AgentError, OSError) as error:
            raise MacUnavailable(f"the PIN pad failed: {error}") from error


def _at_once(pad: PinPad, prepared: bytes, session_key_hex: str) -> bytes:
    """The whole input in one command. Raises MacUnavailable for an answer of another length."""
    core = pad.mac(prepared, session_key_hex)
    if len(core) != PAD_MAC_BYTES:
        raise MacUnavailable(f"the PIN pad gave {len(core)} bytes instead of {PAD_MAC_BYTES}")
    return core


def _chained(pad: PinPad, prepared: bytes, session_key_hex: str) -> bytes:
    """CBC by hand: each block is XORed with what the pad made of the one before. Raises as `_at_once`."""
    core = bytes(PAD_MAC_BYTES)
    for start in range(0, len(prepared), PAD_MAC_BYTES):
        block = bytes(one ^ other for one, other in zip(core, prepared[start : start + PAD_MAC_BYTES], strict=True))
        core = _at_once(pad, block, session_key_hex)
    return core


async def verdict(profile: Profile, provider: MacProvider, body: bytes) -> MacVerdict:
    """What the MAC of a received message says. "unverified": it could not be checked now, so it proves nothing."""
    at_once = verdict_now(profile, provider, body)
    if at_once is not None:
        return at_once
    parts = split(profile, body)
    assert parts is not None
    try:
        return "valid" if await provider.verify(*parts) else "invalid"
    except (MacUnavailable, MacError):
        return "unverified"


def verdict_now(profile: Profile, provider: MacProvider, body: bytes) -> MacVerdict | None:
    """The same where it takes no wait; None where a device must be asked."""
    if isinstance(provider, NoMac):
        return "unchecked"
    try:
        parts = split(profile, body)
    except ProtocolError:
        return "invalid"  # so damaged that the MAC cannot even be found
    if parts is None:
        return "absent"
    try:
        ours = provider.mac_now(parts[0])
    except (MacUnavailable, MacError):
        return "unverified"
    if ours is None:
        return None
    return "valid" if hmac.compare_digest(ours, parts[1]) else "invalid"
