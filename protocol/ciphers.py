"""Block ciphers for MACs and key blocks, over `cryptography` only (38 and later), without deprecation warnings."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from protocol.errors import MacError

try:  # cryptography 43 moved TripleDES and warns at the old place
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # pragma: no cover - cryptography 38 to 42
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES


def triple(key: bytes) -> bytes:
    """Gives 24 bytes of key from 8 (single DES), 16 (K1 K2 K1) or 24. Raises MacError for another length."""
    if len(key) == 8:
        return key * 3
    if len(key) == 16:
        return key + key[:8]
    if len(key) == 24:
        return key
    raise MacError(f"a DES key has 8, 16 or 24 bytes, this one {len(key)}")


def des_encrypt(key: bytes, data: bytes) -> bytes:
    """Gives DES or triple DES in ECB mode over whole blocks; a key of 8 bytes means single DES."""
    return _run(Cipher(TripleDES(triple(key)), modes.ECB()), data, True)


def des_decrypt(key: bytes, data: bytes) -> bytes:
    """Undoes `des_encrypt`."""
    return _run(Cipher(TripleDES(triple(key)), modes.ECB()), data, False)


def des_cbc_mac(key: bytes, data: bytes) -> bytes:
    """Gives the last block (8 bytes) of DES or triple DES in CBC mode with a zero start value."""
    return _run(Cipher(TripleDES(triple(key)), modes.CBC(bytes(8))), data, True)[-8:]


def sm4_cbc_mac(key: bytes, data: bytes) -> bytes:
    """Gives the last block (16 bytes) of SM4 in CBC mode with a zero start value. GB/T 32907-2016, GB/T 15852.1."""
    try:
        return _run(Cipher(algorithms.SM4(key), modes.CBC(bytes(16))), data, True)[-16:]
    except UnsupportedAlgorithm:  # pragma: no cover - an OpenSSL built without SM4
        raise MacError("this machine's OpenSSL has no SM4") from None


def aes_cmac(key: bytes, data: bytes) -> bytes:
    """Gives 16 bytes of CMAC with AES. Source: NIST SP 800-38B."""
    code = CMAC(algorithms.AES(key))
    code.update(data)
    return code.finalize()


def des_cmac(key: bytes, data: bytes) -> bytes:
    """Gives 8 bytes of CMAC with triple DES. Source: NIST SP 800-38B."""
    code = CMAC(TripleDES(triple(key)))
    code.update(data)
    return code.finalize()


def _run(cipher: Cipher[modes.ECB] | Cipher[modes.CBC], data: bytes, encrypt: bool) -> bytes:
    context = cipher.encryptor() if encrypt else cipher.decryptor()
    return context.update(data) + context.finalize()
