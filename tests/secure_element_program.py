"""A secure element for the bench: a program as docs/security.md describes it. Stands alone: it is copied and executed.

Its argument is a directory: `element.key` is what never leaves it, `mood` how it behaves (see the tests), `runs` what
was asked of it.
"""

import base64
import hashlib
import hmac
import os
import signal
import sys
import time
from pathlib import Path

EXITS = {"absent": 69, "absent-now": 75, "refuses": 77, "of-another": 65, "fails": 3}


def wrap(own: bytes, key: bytes) -> bytes:
    """Nonce, key under a mask, tag: enough for a bench."""
    nonce = os.urandom(16)
    hidden = bytes(one ^ other for one, other in zip(key, hmac.digest(own, nonce, "sha256"), strict=True))
    return nonce + hidden + hmac.digest(own, nonce + hidden, "sha256")[:16]


def unwrap(own: bytes, token: bytes) -> bytes:
    """Ends the program with 65 where the tag is not ours."""
    nonce, hidden, tag = token[:16], token[16:48], token[48:]
    if not hmac.compare_digest(hmac.digest(own, nonce + hidden, "sha256")[:16], tag):
        sys.exit(65)
    return bytes(one ^ other for one, other in zip(hidden, hmac.digest(own, nonce, "sha256"), strict=True))


def misbehave(mood: str, data: bytes) -> None:
    """What does not come back did its worst."""
    if mood in EXITS:
        print(base64.b64encode(data).decode(), file=sys.stderr)  # an element's driver may be talkative
        sys.exit(EXITS[mood])
    if mood == "hangs":
        time.sleep(600)
    if mood == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    while mood == "floods":
        sys.stdout.write("A" * 65536)
    if mood == "leaves-a-child" and os.fork() == 0:
        time.sleep(600)  # holds our standard output


def answer(mood: str, verb: str, own: bytes, data: bytes) -> bytes:
    """The line."""
    if mood == "garbage":
        return b"\xff\x00 no base64 " + data
    if mood == "says-nothing":
        return b""
    if mood == "other-key" or (mood == "cannot-unwrap" and verb == "unwrap"):
        return base64.b64encode(os.urandom(32)) + b"\n"
    if mood == "short":
        return base64.b64encode(data[:16]) + b"\n"
    if mood == "does-not-wrap":
        return base64.b64encode(data) + b"\n"
    return base64.b64encode(wrap(own, data) if verb == "wrap" else unwrap(own, data)) + b"\n"


def main() -> None:
    """One request."""
    home = Path(sys.argv[1])
    mood = (home / "mood").read_text()
    if mood == "hangs-at-once":
        time.sleep(600)
    verb, _, data = sys.stdin.buffer.readline().decode().strip().partition(" ")
    with (home / "runs").open("a") as runs:
        runs.write(f"{verb} {' '.join(sorted(os.environ))}\n")
    if mood == "slow":
        time.sleep(1.0)
    misbehave(mood, base64.b64decode(data))
    line = answer(mood, verb, (home / "element.key").read_bytes(), base64.b64decode(data))
    sys.stdout.buffer.write(line)
    sys.stdout.flush()
    if mood == "does-not-end":
        os.close(1)
        time.sleep(600)


if __name__ == "__main__":
    hashlib.sha256()  # loaded before anything is read
    main()
