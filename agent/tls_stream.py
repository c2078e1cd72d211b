"""TLS in memory: encrypted bytes in `incoming`, encrypted bytes out of `pending`.

OpenSSL's errors become TlsError here and nowhere else, without the names of its C sources.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from datetime import datetime

from agent.linkstate import LinkError
from agent.tls_certificate import not_after
from agent.tls_settings import TlsError

# One read of clear bytes: the size of a TLS record (RFC 8446, section 5.1).
READ_BYTES = 16384


class TlsStream:
    """One connection's encryption. Every method may raise TlsError."""

    def __init__(self, context: ssl.SSLContext, server_name: str, check_pin: Callable[[bytes], None]) -> None:
        self.incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._check_pin = check_pin
        self._stream = context.wrap_bio(self.incoming, self._outgoing, server_hostname=server_name)

    def greet(self) -> bool:
        """One step of the handshake; True when it is done."""
        with _errors():
            try:
                self._stream.do_handshake()
            except ssl.SSLWantReadError:
                return False
        return True

    def check(self) -> datetime:
        """The last moment of the host's certificate, in UTC, after the pin check."""
        certificate = self._stream.getpeercert(binary_form=True)
        assert certificate, "a TLS server without a certificate passed the handshake"
        self._check_pin(certificate)
        return not_after(certificate)

    def encrypt(self, data: bytes) -> bytes:
        """What to send for these clear bytes."""
        done = 0
        with _errors():
            while done < len(data):
                done += self._stream.write(data[done:])
        return self.pending()

    def decrypt(self) -> bytes:
        """Clear bytes; b"" while a record is incomplete. Raises LinkError (eof)."""
        clear = bytearray()
        with _errors():
            try:
                while chunk := self._stream.read(READ_BYTES):
                    clear += chunk
            except ssl.SSLWantReadError:
                return bytes(clear)
            except ssl.SSLError:
                if not clear:  # else what came before the damage is given first; the next call raises
                    raise
        if not clear:
            raise LinkError("eof", "the host closed the connection")
        return bytes(clear)

    def goodbye(self) -> bytes:
        """The closing alert; b"" where the stream is in no state to say it."""
        with contextlib.suppress(ssl.SSLError):  # "want read": the answer to it is not waited for
            self._stream.unwrap()
        return self.pending()

    def pending(self) -> bytes:
        """Encrypted bytes that wait to be sent."""
        return self._outgoing.read()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise TlsError(_reason(error)) from error


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return f"TLS failed: {(error.reason or 'unknown').lower().replace('_', ' ')}"
