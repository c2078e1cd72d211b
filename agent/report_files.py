"""Files that a report is written to: for their owner and group only, since they name customers' sales."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from protocol.errors import AgentError


class ReportFileError(AgentError):
    """The file cannot be written."""

    code = "E-REPORT-FILE"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} cannot be written: {problem}", "name another file, or make room on its disk")


@contextmanager
def writing(path: Path, newline: str | None = None, encoding: str = "utf-8") -> Iterator[TextIO]:
    """A file to write, replaced as a whole when the block has ended well. Raises ReportFileError."""
    draft = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with open(descriptor, "w", encoding=encoding, newline=newline) as file:
            yield file
        os.replace(draft, path)
    except OSError as error:
        raise ReportFileError(path, error.strerror or "") from None
    finally:  # also after Ctrl-C: a draft names customers' sales
        with suppress(OSError):
            draft.unlink(missing_ok=True)
