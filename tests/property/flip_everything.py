"""Every byte of every file of a journal flipped, and every file cut at every byte: refused, or everything is there.

    python -m tests.property.flip_everything

Exit code 1 if a damaged journal is read as something else, or ends in an error of our own. Takes minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.property.damage_places import make_places

FILES = (
    ("closed", "journal.db"),
    ("killed", "journal.db"),
    ("killed", "journal.db-wal"),
    ("closed", "journal.mark"),
    ("closed", "journal.key"),
)
CHUNK = 400


def main() -> int:
    """See the module."""
    wrong = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        places = make_places(Path(scratch), transactions=2)
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            for place, name in FILES:
                for kind in ("flip", "cut"):
                    size = (places / place / name).stat().st_size
                    starts = range(0, size, CHUNK)
                    told: Counter[str] = sum(
                        workers.map(lambda at, a=places / place, b=name, c=kind: _outcomes(a, b, c, at), starts),
                        Counter(),
                    )
                    wrong += told["DIFFERENT"] + told["ERROR"]
                    print(f"{place}/{name} {kind}: {size} places, {dict(told)}", flush=True)
    return 1 if wrong else 0


def _outcomes(place: Path, name: str, kind: str, start: int) -> Counter[str]:
    size = (place / name).stat().st_size
    positions = [str(at) for at in range(start, min(start + CHUNK, size))]
    scratch = place.with_name(f"copy-{place.name}-{name}-{kind}-{start}")
    command = [sys.executable, "-m", "tests.property.flip_one", str(place), str(scratch), name, kind, *positions]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    subprocess.run(["rm", "-rf", str(scratch)], check=True)
    return Counter(done.stdout.split())


if __name__ == "__main__":
    sys.exit(main())
