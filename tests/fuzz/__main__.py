"""The coverage-guided fuzzer on one target: python -m tests.fuzz TARGET CORPUS [libFuzzer options].

Atheris (libFuzzer for Python) instruments our packages and pyiso8583 as they are imported; inputs that reach something
new are kept in CORPUS. Its last lines tell executions, edges (`cov`) and corpus; a finding is left as a file.
"""

from __future__ import annotations

import sys

import atheris

OURS = ["agent", "drivers", "protocol", "iso8583"]


def main() -> None:
    """Runs until libFuzzer's options end it; it never returns."""
    with atheris.instrument_imports(include=OURS, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS  # instrumented as it is loaded
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
