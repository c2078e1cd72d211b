"""Reads udev rules as systemd-udevd does, strictly, and plays them for a simulated device.

Source: udev(7), systemd 252 (keys, operators, order of files), and the style that `udevadm verify` of
systemd 257 asks for: a comma and a blank between tokens.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

MATCH = ("==", "!=")
ASSIGN = ("=",)
FINAL = ("=", ":=")
LIST = ("=", "+=", "-=", ":=")

# Key -> (takes {attribute}, operators).
KEYS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "ACTION": (False, MATCH),
    "DEVPATH": (False, MATCH),
    "KERNEL": (False, MATCH),
    "KERNELS": (False, MATCH),
    "SUBSYSTEM": (False, MATCH),
    "SUBSYSTEMS": (False, MATCH),
    "DRIVERS": (False, MATCH),
    "ATTR": (True, (*MATCH, *ASSIGN)),
    "ATTRS": (True, MATCH),
    "ENV": (True, (*MATCH, "=", "+=")),
    "TAG": (False, (*MATCH, *LIST)),
    "SYMLINK": (False, (*MATCH, *LIST)),
    "OWNER": (False, FINAL),
    "GROUP": (False, FINAL),
    "MODE": (False, FINAL),
    "IMPORT": (True, ASSIGN),
    "GOTO": (False, ASSIGN),
    "LABEL": (False, ASSIGN),
    "OPTIONS": (False, ("=", "+=")),
}
# Keys that look at the parents too; all of one rule must match the same device.
PARENTAL = ("KERNELS", "SUBSYSTEMS", "DRIVERS", "ATTRS")

TOKEN = re.compile(r'([A-Z]+)(?:\{([^}"]+)\})?(==|!=|\+=|-=|:=|=)"((?:[^"\\]|\\.)*)"')


class RuleError(ValueError):
    """A rule that udev would refuse or that would not do what it says."""


@dataclass(frozen=True)
class Token:
    key: str
    attribute: str
    operator: str
    value: str

    @property
    def is_match(self) -> bool:
        return self.operator in MATCH


@dataclass(frozen=True)
class Rule:
    line: int
    tokens: tuple[Token, ...]


def parse(text: str) -> list[Rule]:
    """All rules of a file. Raises RuleError with the line."""
    rules = [Rule(number, tuple(_tokens(line, number))) for number, line in _logical_lines(text)]
    _check_jumps(rules)
    return rules


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    held, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not held and (not line.strip() or line.lstrip().startswith("#")):
            continue
        first = first or number
        if line.endswith("\\"):
            held += line[:-1]
            continue
        yield first, held + line
        held, first = "", 0
    if held:
        raise RuleError(f"line {first}: goes on after the end of the file")


def _tokens(line: str, number: int) -> Iterator[Token]:
    at = 0
    while at < len(line):
        found = TOKEN.match(line, at)
        if not found:
            raise RuleError(f'line {number}: expected KEY=="value" at {line[at:][:20]!r}')
        token = Token(found[1], found[2] or "", found[3], found[4])
        _check_token(token, number)
        yield token
        at = found.end()
        if at < len(line):
            if not line.startswith(", ", at) or at + 2 >= len(line):
                raise RuleError(f"line {number}: a comma and a blank between tokens, none at the end")
            at += 2


def _check_token(token: Token, number: int) -> None:
    if token.key not in KEYS:
        raise RuleError(f"line {number}: unknown key {token.key}")
    takes_attribute, operators = KEYS[token.key]
    if takes_attribute is not bool(token.attribute):
        raise RuleError(f"line {number}: {token.key} {'needs' if takes_attribute else 'takes no'} {{...}}")
    if token.operator not in operators:
        raise RuleError(f"line {number}: invalid operator {token.operator} for {token.key}")
    if token.key == "MODE" and not re.fullmatch(r"0[0-7]{3}", token.value):
        raise RuleError(f"line {number}: MODE is four octal digits")
    if re.search(r"\{id(Vendor|Product)\}", f"{{{token.attribute}}}") and not re.fullmatch("[0-9a-f]{4}", token.value):
        raise RuleError(f"line {number}: the kernel writes ids as four lower-case digits, not {token.value!r}")


def _check_jumps(rules: Sequence[Rule]) -> None:
    labels = {token.value: rule.line for rule in rules for token in rule.tokens if token.key == "LABEL"}
    for rule in rules:
        for token in rule.tokens:
            if token.key == "GOTO" and labels.get(token.value, 0) <= rule.line:
                raise RuleError(f"line {rule.line}: GOTO without a matching label after it")


# --- playing -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    """A device or a parent. `usb_id`: what 60-serial.rules finds out about a tty."""

    subsystem: str
    kernel: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[Device, ...] = ()
    usb_id: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Node:
    """What udev makes of a device."""

    properties: dict[str, str]
    symlinks: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    access: dict[str, str] = field(default_factory=dict)
    final: set[str] = field(default_factory=set)


def play(files: Mapping[str, str], device: Device, action: str = "add") -> Node:
    """The node after all files, in the order of their names."""
    node = Node(dict(device.properties))
    for name in sorted(files):
        target = ""
        for rule in parse(files[name]):
            labels = [token.value for token in rule.tokens if token.key == "LABEL"]
            if target and target not in labels:
                continue
            target = _apply(rule, device, node, action)
    return node


def _apply(rule: Rule, device: Device, node: Node, action: str) -> str:
    """Apply one rule; the label to jump to, if any."""
    parental = [token for token in rule.tokens if token.is_match and token.key in PARENTAL]
    own = [token for token in rule.tokens if token.is_match and token.key not in PARENTAL]
    if not all(_fits(token, device, node, action) for token in own):
        return ""
    parent = next((one for one in (device, *device.parents) if all(_fits_one(token, one) for token in parental)), None)
    if parent is None:
        return ""
    for token in rule.tokens:
        if not token.is_match:
            _assign(replace(token, value=_filled(token.value, device, parent)), device, node)
    return next((token.value for token in rule.tokens if token.key == "GOTO"), "")


def _fits(token: Token, device: Device, node: Node, action: str) -> bool:
    values = {
        "ACTION": action,
        "KERNEL": device.kernel,
        "SUBSYSTEM": device.subsystem,
        "ATTR": device.attributes.get(token.attribute),
        "ENV": node.properties.get(token.attribute, ""),
    }
    return _compare(token, values[token.key])


def _fits_one(token: Token, device: Device) -> bool:
    values = {
        "KERNELS": device.kernel,
        "SUBSYSTEMS": device.subsystem,
        "ATTRS": device.attributes.get(token.attribute),
    }
    return _compare(token, values[token.key])


def _compare(token: Token, value: str | None) -> bool:
    if value is None:
        return False
    same = any(fnmatch.fnmatchcase(value, pattern) for pattern in token.value.split("|"))
    return same is (token.operator == "==")


def _filled(text: str, device: Device, parent: Device) -> str:
    def attribute(found: re.Match[str]) -> str:
        return device.attributes.get(found[1], parent.attributes.get(found[1], ""))

    return re.sub(r"\$attr\{([^}]+)\}", attribute, text)


def _assign(token: Token, device: Device, node: Node) -> None:
    if token.key in ("GROUP", "MODE", "OWNER"):
        if token.key not in node.final:
            node.access[token.key] = token.value
        if token.operator == ":=":
            node.final.add(token.key)
    elif token.key == "ENV":
        before = node.properties.get(token.attribute, "") if token.operator == "+=" else ""
        node.properties[token.attribute] = f"{before} {token.value}".strip()
    elif token.key == "SYMLINK":
        node.symlinks.update(token.value.split())
    elif token.key == "TAG":
        node.tags.add(token.value)
    elif token.key == "IMPORT":
        node.properties.update(device.usb_id)
