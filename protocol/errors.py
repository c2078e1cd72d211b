"""The error tree of the whole program; each error can be shown to anyone.

    AgentError                     never raised itself
    ├── ProtocolError              bytes, messages and profiles (this layer)
    │   ├── FrameError             a device frame or a host envelope is damaged: `offset`
    │   ├── MessageError           an ISO 8583 message is damaged or impossible: `field`, `offset`
    │   ├── MacError               a MAC cannot be computed: wrong key length, unknown algorithm
    │   └── ProfileError           a host profile is wrong: `where` (file and line or key)
    ├── PortError, DeviceError     drivers (see drivers/errors.py)
    └── JournalError, ConfigError, LinkError, ApiError   agent (beside the code that raises them)

Rules: `str(error)` is safe to log: it holds no card number, track, PIN block, CVV or key, not even
part of one. `hint` says what to do next. `code` never changes once released: field staff and
tests search for it.
"""

from __future__ import annotations


class AgentError(Exception):
    """Root of every error that this program raises on purpose."""

    code = "E-AGENT"

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" + (f" ({self.hint})" if self.hint else "")


class ProtocolError(AgentError):
    """Bytes or facts that do not fit the protocol."""

    code = "E-PROTOCOL"


class FrameError(ProtocolError):
    """A frame on a wire is damaged. `offset` counts bytes from the start of the frame."""

    code = "E-FRAME"

    def __init__(self, text: str, offset: int = 0, hint: str = "") -> None:
        super().__init__(text, hint)
        self.offset = offset


class MessageError(ProtocolError):
    """An ISO 8583 message is damaged or cannot be built.

    `field` is the data element (0: MTI, 1: bitmap, None: the message as a whole); `offset`
    counts bytes from the first byte of the MTI.
    """

    code = "E-MESSAGE"

    def __init__(self, text: str, field: int | None = None, offset: int = 0, hint: str = "") -> None:
        super().__init__(text, hint)
        self.field = field
        self.offset = offset


class MacError(ProtocolError):
    """A message authentication code cannot be computed."""

    code = "E-MAC"


class ProfileError(ProtocolError):
    """A host profile is wrong. `where` names the file and the key or line."""

    code = "E-PROFILE"

    def __init__(self, text: str, where: str = "", hint: str = "") -> None:
        super().__init__(f"{where}: {text}" if where else text, hint)
        self.where = where
