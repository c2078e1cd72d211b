"""A host profile as facts: frozen dataclasses that say how one host speaks and what its answers mean.

Written by `protocol.profile.load_profile` from TOML; no logic beyond look-ups. Seconds are `_s`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from protocol.frozen import dataclass
from protocol.iso8583 import Codec
from protocol.templates import Slice, Template

OnUnknown = Literal["reverse", "none", "park"]
Verdict = Literal["done", "retry", "later", "park", "overtaken"]


@dataclass(frozen=True, slots=True)
class EnvelopeRules:
    """What stands before the message on a TCP connection.

    `length_bytes` (0: none) in `length_form` "binary" (big-endian), "bcd" or "ascii"; `tpdu` and `header` are the
    defaults for sending, b"" where the host has none; `requirement_nibble` is the nibble of the header that holds
    the processing requirement, -1 for none.
    """

    length_bytes: int
    length_form: str
    length_counts_itself: bool
    length_max: int
    tpdu: bytes
    header: bytes
    requirement_nibble: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of transaction: how its request is recognised and what is done when its outcome is unknown."""

    name: str
    mti: str
    processing_code: str
    point_of_service_condition: str
    transaction_type: str
    on_unknown: OnUnknown
    request_templates: Mapping[int, Template]
    reversal_templates: Mapping[int, Template]


@dataclass(frozen=True, slots=True)
class RequestRules:
    """Elements of every request: those that must be there and the templates that give them."""

    required: tuple[int, ...]
    templates: Mapping[int, Template]
    type_at: Slice | None


@dataclass(frozen=True, slots=True)
class ReversalRules:
    """How a reversal is made from its original.

    `types` maps the original's MTI to the reversal's; `repeats` says whether later attempts bear the repeat's type.
    `keep` lists the elements that are copied; everything else is dropped. `stan` is "original" or "own". The slots:
    `reason_field` (39, 25), `stamp_field` (7 or 0: none), `stan_slot` (element 11 is made anew with each try).
    """

    types: Mapping[str, str]
    repeats: bool
    keep: tuple[int, ...]
    templates: Mapping[int, Template]
    stan: str
    stan_each_try: bool
    reason_field: int
    reasons: Mapping[str, str]
    reason_after_refusal: str
    stamp_field: int
    local_time_field: int
    local_date_field: int
    chip_field: int
    chip_tags: tuple[str, ...]
    partial_field: int


@dataclass(frozen=True, slots=True)
class MacRules:
    """How a message is authenticated.

    `algorithm` "none" where the host wants no MAC; `field` 64, 128 or None; with a second bitmap it is always 128.
    `wire_bytes` is the size of the MAC field on the wire (16 where 8 bytes stand as text). `optional_on`: codes of
    answers that count also without a MAC; never a code that approves.
    """

    algorithm: str = "none"
    output: str = "binary8"
    field: int | None = None
    wire_bytes: int = 8
    classes: tuple[str, ...] = ()
    core: str = "software"
    mti_bytes: int = 2
    bitmap_form: str = "binary"
    optional_on: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ResponseRules:
    """What response codes mean. A code in no list is declined for a request and "retry" for a reversal.

    `unsure`: codes in the answer to a request by which the host says that it does not know what became of it.
    `alarms`: codes to a reversal of which people should hear at once, whatever the verdict is.
    """

    approved: frozenset[str]
    verdicts: Mapping[str, Verdict]
    texts: Mapping[str, tuple[str, str]]
    alarms: frozenset[str]
    unsure: frozenset[str] = frozenset()

    def request(self, code: str) -> Literal["approved", "declined", "unsure"]:
        """Gives what a reply's code says about the request."""
        if code in self.unsure:
            return "unsure"
        return "approved" if code in self.approved else "declined"

    def reversal(self, code: str) -> Verdict:
        """Gives what the code of an acknowledgement says about the reversal; unknown codes are never "done"."""
        return self.verdicts.get(code, "retry")

    def text(self, code: str, language: str = "en") -> str:
        """Gives a code in plain words, "en" or "zh"."""
        pair = self.texts.get(code)
        if pair is None:
            return "未知应答码" if language == "zh" else "unknown response code"
        return pair[1] if language == "zh" else pair[0]


@dataclass(frozen=True, slots=True)
class MatchRules:
    """Which elements of an answer are compared with the request.

    `core` must be there and equal; those of `may_be_absent` may lack (the grade becomes "weak"); `echoed` are compared
    where they are there; the grade is "full" when all of them are. `accept_repeat_reply`: 0431 and its like count.
    """

    core: tuple[Slice, ...]
    may_be_absent: tuple[Slice, ...]
    echoed: tuple[Slice, ...]
    accept_repeat_reply: bool


@dataclass(frozen=True, slots=True)
class RetryRules:
    """When a reversal is tried (again), and how long each step of a conversation may take."""

    first_delay_s: float
    base_s: float
    factor: float
    cap_s: float
    jitter: float
    park_after_attempts: int
    parked_every_s: float
    connect_timeout_s: float
    send_timeout_s: float
    reply_timeout_s: float
    overtake_window_s: float
    persistent_connection: bool
    triggers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkMessage:
    """One message of the session: sign-on, echo test, sign-off, settlement."""

    name: str
    mti: str
    templates: Mapping[int, Template]


@dataclass(frozen=True, slots=True)
class SessionRules:
    """Sign-on, keys, batch and what the header may ask for.

    `host_clock` is the zone ("+08:00") of the host's own time in elements 12 and 13 of its answers to requests and
    session messages; "" where the host only gives back what was sent.
    `batch_codes` and `key_codes`: answers to a sale or a reversal which say that the host has another batch or another
    key; a sign-on mends that. `requirements` maps the processing requirement of a header to an action ("sign-on",
    "download-parameters", ...); `settle_gate` says what a settlement does while reversals are pending: "refuse", "wait"
    or "override".
    """

    sign_on_required: bool
    sign_on_every_s: float
    echo_every_s: float
    messages: Mapping[str, NetworkMessage]
    keys_field: int
    batch_at: Slice | None
    batch_follows_host: bool
    requirements: Mapping[int, str]
    settle_gate: str
    batch_codes: frozenset[str]
    key_codes: frozenset[str]
    host_clock: str = ""


@dataclass(frozen=True, slots=True)
class ScriptResultRules:
    """The message that tells the host what the issuer's scripts did on the card.

    `chip_tags`: what of the chip data goes into `chip_field`; `result_tag` is the one that holds the results. `tries`:
    so often it goes before a reversal or a sale of its lane; then it no longer holds them up.
    """

    mti: str
    templates: Mapping[int, Template]
    chip_field: int
    chip_tags: tuple[str, ...]
    result_tag: str
    tries: int


@dataclass(frozen=True, slots=True)
class BatchUploadRules:
    """What follows a settlement with other totals: the details in messages "upload", then "upload-end".

    `kinds`: what is uploaded; `leave_entry_modes`: beginnings of element 22 whose details need data that is not kept.
    """

    per_message: int
    kinds: tuple[str, ...]
    leave_entry_modes: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Profile:
    """One host's dialect."""

    name: str
    title: str
    confirm: str
    confirm_timeout_s: float
    envelope: EnvelopeRules
    codec: Codec
    request: RequestRules
    kinds: Mapping[str, Kind]
    reversal: ReversalRules
    mac: MacRules
    responses: ResponseRules
    matching: MatchRules
    retry: RetryRules
    session: SessionRules
    script_result: ScriptResultRules | None
    batch_upload: BatchUploadRules | None

    def __repr__(self) -> str:
        return f"Profile({self.name})"
