"""The house plan is kept: who may import whom, what stands at the top, one writer, one clock."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from agent.states_doc import markdown

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("agent", "drivers", "hwsim", "protocol")
MAY_IMPORT = {
    "protocol": {"protocol"},
    "drivers": {"protocol", "drivers"},
    "agent": {"protocol", "agent"},
    "hwsim": {"protocol", "hwsim"},
}
COMPOSITION_ROOTS = {"agent/daemon.py", "agent/cli.py"}
NOT_IN_PURE = {"time", "os", "random", "logging", "socket", "sqlite3", "serial", "asyncio", "threading", "subprocess"}
PURE_AGENT = ("engine.py", "records.py", "events.py", "policy.py", "outcomes.py", "diagnosis.py")
# A wall clock or the monotonic one. `perf_counter` only measures, and asyncio's own clock only waits.
READS_A_CLOCK = re.compile(
    r"time\.(?:time|monotonic)(?:_ns)?\(|time\.(?:clock_gettime|gmtime|localtime|ctime)\b"
    r"|datetime\.(?:utcnow|now|today)\(|date\.today\("
)
# Processes of their own, which have no daemon's clock.
COMMANDS = {
    *("agent/cli.py", "agent/cli_report.py", "agent/client.py", "agent/provision.py", "agent/provision_trial.py"),
    *("agent/removal.py", "agent/reversalctl.py"),
}
ALLOWED_TOP = {
    *("pyproject.toml", "README.md", "agent", "drivers", "protocol", "tests", "hwsim", "udev"),
    *("Makefile", "LICENSE", "CHANGELOG.md", "SECURITY.md", "docs"),
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}


def sources(room: str) -> list[Path]:
    """Every module of a room."""
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every imported module by its full name, also those imported inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_plan_allows(room: str) -> None:
    for path in sources(room):
        name = path.relative_to(ROOT).as_posix()
        allowed = MAY_IMPORT[room] | ({"drivers"} if name in COMPOSITION_ROOTS else set())
        for module in imports(path):
            top = module.split(".")[0]
            assert top not in ROOMS or top in allowed, f"{name} imports {module}"
            assert top != "tests", f"{name} imports {module}"


def test_the_protocol_and_the_engine_touch_no_clock_no_disk_no_wire() -> None:
    pure = [*sources("protocol"), *(ROOT / "agent" / name for name in PURE_AGENT)]
    for path in pure:
        found = {module.split(".")[0] for module in imports(path)} & NOT_IN_PURE
        assert not found, f"{path.relative_to(ROOT)} imports {', '.join(sorted(found))}"


def test_nothing_imports_in_a_circle() -> None:
    known = {module_name(path): path for room in ROOMS for path in sources(room)}
    graph = {name: {m for m in top_imports(path, known) if m != name} for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def module_name(path: Path) -> str:
    """agent/loop.py → agent.loop."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def top_imports(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """What of ours is imported when the module is loaded; `from package import module` means the module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & set(known)
            yield from modules or ({node.module} & set(known))


def test_the_top_level_holds_what_the_plan_says() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tops = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= ALLOWED_TOP


def test_a_file_has_one_subject_and_its_name_says_it() -> None:
    for room in (*ROOMS, "tests"):
        for path in sources(room):
            assert path.stem not in FORBIDDEN_NAMES, path


def test_what_stands_at_the_top_of_a_module_is_used() -> None:
    paths = [path for room in (*ROOMS, "tests", "udev") for path in sources(room)]
    said = Counter(word for path in paths for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))
    unused = [f"{path.relative_to(ROOT)}: {name}" for room in ROOMS for path in sources(room) for name in tops(path)]
    assert [one for one in unused if said[one.rpartition(" ")[2]] < 2] == []


def tops(path: Path) -> Iterator[str]:
    """The names that a module defines for itself and others."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for one in targets for name in ast.walk(one) if isinstance(name, ast.Name))


@pytest.mark.parametrize("room", ["protocol", "drivers"])
def test_every_public_name_of_protocol_and_drivers_says_what_it_gives(room: str) -> None:
    silent = [f"{path.relative_to(ROOT)}: {name}" for path in sources(room) for name in without_docstring(path)]
    assert silent == []


def without_docstring(path: Path) -> Iterator[str]:
    """The public classes, functions and methods that say nothing; what stands inside a function is nobody else's."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    module = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    for node in (node for holder in (module, *classes) for node in holder.body if isinstance(node, kinds)):
        if not node.name.startswith("_") and not ast.get_docstring(node):
            yield node.name
    if not ast.get_docstring(module):
        yield "the module"


def test_one_place_writes_to_the_journal_and_one_reads_the_clock() -> None:
    writes, clocks = [], set[str]()
    for path in sources("agent"):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        writes += [name] * len(re.findall(r"journal\.append\(", text))
        clocks |= {name} if READS_A_CLOCK.search(text) else set()
    assert set(writes) - {"agent/mirror.py"} == {"agent/loop_turns.py"}  # the mirror is a journal that writes to two
    assert writes.count("agent/loop_turns.py") == 1
    assert clocks == {"agent/clock.py", *COMMANDS}


def test_the_page_about_states_is_printed_from_the_table() -> None:
    assert (ROOT / "docs/states.md").read_text(encoding="utf-8") == markdown()
