"""An EMV-like session with a chip card: which application, which data, which cryptogram.

NOT a certified EMV kernel: no offline data authentication, no terminal risk management, no cardholder
verification by the card, no application selection by the customer. It is meant for test cards and for showing
what the agent does when a card is pulled or refuses after the host approved.

Sources: EMV 4.3 Book 1 12.3 (selection), Book 3 6.5 (commands), 10.1 and 10.2 (initiation, read data),
10.10 and 10.11 (issuer authentication, completion); UnionPay's DF31 for script results (assumed: one result
byte and four bytes of script id for each script).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from drivers.card import CardChannel
from drivers.errors import CardRefused, CardUnreadable
from protocol import emv
from protocol.errors import FrameError
from protocol.frozen import dataclass
from protocol.iso7816 import Apdu
from protocol.masking import mask_pan

DIRECTORY_RECORDS_MAX = 10
SW_OK = 0x9000
# AID prefixes tried when the card has no directory: UnionPay debit, credit, quasi-credit; Visa; Mastercard.
DEFAULT_AIDS = ("A000000333010101", "A000000333010102", "A000000333010103", "A0000000031010", "A0000000041010")
AC_REQUESTS = {"AAC": 0x00, "TC": 0x40, "ARQC": 0x80}
# UnionPay, F55 of a script result (0620): LiaoYang, PAX EmvTags.java.
SCRIPT_TAGS = ("9F33", "95", "9F37", "9F1E", "9F10", "9F26", "9F36", "82", "DF31", "9F1A", "9A")
REVERSAL_TAGS = ("95", "9F1E", "9F10", "9F36", "DF31")  # UnionPay, F55 of a reversal
ONLINE_ISSUER_AUTH = 0x04  # AIP byte 1, bit 3 (Book 3, annex C1)


@dataclass(frozen=True, slots=True, repr=False)
class CardData:
    """SECRET. What the magnetic-stripe world needs of a chip card."""

    pan: str
    expiry: str  # YYMM
    track2: str  # '=' as separator; "" = the card has none
    sequence: str  # three digits; "" = none
    label: str
    aid: str

    def __repr__(self) -> str:
        return f"CardData({mask_pan(self.pan)}, {self.label!r}, {self.aid})"


@dataclass(frozen=True, slots=True)
class TerminalData:
    """The terminal's side of the chip's questions; all of it numbers as text or hex, none of it secret."""

    amount_minor: int = 0
    other_amount_minor: int = 0
    currency: str = "156"
    country: str = "156"
    date: str = "000000"  # YYMMDD
    time: str = "000000"  # hhmmss
    transaction_type: str = "00"
    unpredictable: str = "00000000"
    verification_results: str = "0000000000"
    terminal_type: str = "22"
    capabilities: str = "E0E9C8"
    serial: str = "00000000"
    sequence_counter: int = 0
    cvm_results: str = "1F0000"  # no CVM performed by the card; the PIN goes online

    def values(self) -> dict[str, bytes]:
        """Tag -> value. Raises FrameError."""
        try:
            numbers = {
                "9F02": f"{self.amount_minor:012d}",
                "9F03": f"{self.other_amount_minor:012d}",
                "5F2A": f"{self.currency:0>4}",
                "9F1A": f"{self.country:0>4}",
                "9A": self.date,
                "9F21": self.time,
                "9C": self.transaction_type,
                "9F37": self.unpredictable,
                "95": self.verification_results,
                "9F35": self.terminal_type,
                "9F33": self.capabilities,
                "9F41": f"{self.sequence_counter:08d}",
                "9F34": self.cvm_results,
            }
            found = {tag: bytes.fromhex(text) for tag, text in numbers.items()}
            return found | {"9F1E": self.serial.encode("ascii")[:8].ljust(8)}
        except ValueError:
            raise FrameError("terminal data for the chip that are not digits") from None


@dataclass(frozen=True, slots=True, repr=False)
class ChipResult:
    """One cryptogram. `chip_data` is DE 55 (hex, SECRET enough not to be shown); `counter` is 9F36 (hex)."""

    kind: str  # ARQC, TC or AAC
    counter: str
    chip_data: str
    reversal_chip_data: str
    script_chip_data: str = ""  # with the results of the host's scripts (DF31); "" = there were none

    def __repr__(self) -> str:
        return f"ChipResult({self.kind}, counter {self.counter})"


@dataclass(slots=True, repr=False)
class EmvSession:
    """One card, one application, one transaction."""

    channel: CardChannel
    aids: Sequence[str] = DEFAULT_AIDS
    _known: dict[str, bytes] = field(default_factory=dict)

    # ------------------------------------------------------------ commands

    def _command(self, doing: str, apdu: Apdu, deadline_s: float) -> bytes:
        answer = self.channel.transmit(apdu, deadline_s)
        if answer.sw != SW_OK:
            raise CardRefused(f"the card refused {doing}", answer.sw)
        return answer.data

    def _understood(self, doing: str, raw: bytes) -> dict[str, bytes]:
        try:
            return emv.values(raw)
        except FrameError as error:
            raise CardUnreadable(f"{doing}: {error.text}") from None

    # ------------------------------------------------------------ selection and reading

    def select(self, deadline_s: float) -> None:
        """Only select the application: no transaction begins. Raises as `read`."""
        self._select(deadline_s)

    def read(self, terminal: TerminalData, deadline_s: float) -> CardData:
        """Select, initiate, read every record. Raises CardRefused, CardUnreadable, CardGone, DeviceError."""
        self._known = {}
        application = self._select(deadline_s)
        self._initiate(terminal, deadline_s)
        return self._card_data(application)

    def _select(self, deadline_s: float) -> emv.Application:
        candidates = emv.choose(self._directory(deadline_s), self.aids)
        candidates = candidates or [emv.Application(aid, "", 0) for aid in self.aids]
        refusal: CardRefused | None = None
        for application in candidates:
            try:
                raw = self._command("selection", _select_apdu(bytes.fromhex(application.aid)), deadline_s)
            except CardRefused as error:
                refusal = error
                continue
            self._known |= self._understood("the application's description", raw)
            self._known.setdefault("84", bytes.fromhex(application.aid))
            return application
        raise CardUnreadable("the card has no application that is accepted here") from refusal

    def _directory(self, deadline_s: float) -> list[emv.Application]:
        """The payment directory; a card without one has an empty one."""
        answer = self.channel.transmit(_select_apdu(emv.PSE_NAME), deadline_s)
        if answer.sw != SW_OK:
            return []
        sfi = self._understood("the payment directory", answer.data).get(emv.TAG_SFI, b"\x01")
        found: list[emv.Application] = []
        for number in range(1, DIRECTORY_RECORDS_MAX + 1):
            record = self.channel.transmit(_read_apdu(sfi[0] & 0x1F, number), deadline_s)
            if record.sw != SW_OK:
                break
            try:
                found += emv.parse_directory_record(record.data)
            except FrameError as error:
                raise CardUnreadable(f"the payment directory: {error.text}") from None
        return found

    def _initiate(self, terminal: TerminalData, deadline_s: float) -> None:
        """GET PROCESSING OPTIONS, then the records which it names."""
        try:
            pdol = emv.fill_dol(self._known.get(emv.TAG_PDOL, b""), terminal.values())
            raw = self._command("the transaction", _options_apdu(pdol), deadline_s)
            profile, ranges = emv.parse_processing_options(raw)
        except FrameError as error:
            raise CardUnreadable(f"processing options: {error.text}") from None
        self._known[emv.TAG_AIP] = profile
        for entry in ranges:
            for number in range(entry.first, entry.last + 1):
                record = self._command("a record", _read_apdu(entry.sfi, number), deadline_s)
                for tag, value in self._understood("a record", record).items():
                    self._known.setdefault(tag, value)

    def _card_data(self, application: emv.Application) -> CardData:
        known = self._known
        try:
            track2 = emv.parse_track2(known[emv.TAG_TRACK2]) if emv.TAG_TRACK2 in known else None
            pan = emv.parse_pan(known[emv.TAG_PAN]) if emv.TAG_PAN in known else ""
        except FrameError as error:
            raise CardUnreadable(error.text) from None
        if track2 is not None and pan and track2.pan != pan:
            raise CardUnreadable("the card's number and its track 2 contradict each other")
        expiry = known.get(emv.TAG_EXPIRY, b"").hex()[:4] or (track2.expiry if track2 else "")
        pan = pan or (track2.pan if track2 else "")
        if not pan or len(expiry) != 4:
            raise CardUnreadable("the card names no number or no expiry")
        label = emv.text(known.get(emv.TAG_LABEL, b"")) or application.label
        sequence = known.get(emv.TAG_SEQUENCE, b"").hex()
        return CardData(
            pan, expiry, track2.text if track2 else "", sequence.zfill(3) if sequence else "", label, application.aid
        )

    # ------------------------------------------------------------ cryptograms

    def first(self, terminal: TerminalData, deadline_s: float) -> ChipResult:
        """First GENERATE AC, asking for an ARQC; the card may still decline (AAC) or approve (TC)."""
        self._known |= terminal.values()
        return self._generate("ARQC", emv.TAG_CDOL1, deadline_s)

    def second(self, approved: bool, response_code: str, host_chip_data: str, deadline_s: float) -> ChipResult:
        """Issuer authentication, scripts and the second GENERATE AC with the host's answer."""
        host = self._host_data(host_chip_data)
        self._known[emv.TAG_ARC] = host.get(emv.TAG_ARC) or response_code.encode("ascii", "replace")[:2].ljust(2, b"0")
        if emv.TAG_ISSUER_AUTH in host:
            self._authenticate(host[emv.TAG_ISSUER_AUTH], deadline_s)
        self._scripts(host_chip_data, emv.TAG_SCRIPT_71, deadline_s)
        result = self._generate("TC" if approved else "AAC", emv.TAG_CDOL2, deadline_s)
        if self._scripts(host_chip_data, emv.TAG_SCRIPT_72, deadline_s):
            return self._result(result.kind)
        return result

    def _host_data(self, host_chip_data: str) -> dict[str, bytes]:
        try:
            return emv.values(bytes.fromhex(host_chip_data))
        except ValueError:
            raise CardUnreadable("the host's chip data is not hexadecimal") from None
        except FrameError as error:
            raise CardUnreadable(f"the host's chip data: {error.text}", "the host sent it: tell the acquirer") from None

    def _authenticate(self, issuer_data: bytes, deadline_s: float) -> None:
        """EXTERNAL AUTHENTICATE where the card wants it so; a refusal is noted in the TVR, the card decides."""
        self._known[emv.TAG_ISSUER_AUTH] = issuer_data
        if not self._known.get(emv.TAG_AIP, b"\0")[0] & ONLINE_ISSUER_AUTH:
            return
        answer = self.channel.transmit(Apdu(0x00, 0x82, 0, 0, issuer_data), deadline_s)
        if answer.sw != SW_OK:
            results = bytearray(self._known.get("95", bytes(5)))
            results[4] |= 0x40  # TVR byte 5 bit 7: issuer authentication failed (Book 3, annex C5)
            self._known["95"] = bytes(results)

    def _scripts(self, host_chip_data: str, template: str, deadline_s: float) -> bool:
        """Run the host's script commands; their results go into DF31. True when there were some."""
        scripts = [item for item in emv.parse_tlv(bytes.fromhex(host_chip_data)) if item.tag == template]
        for script in scripts:
            self._known["DF31"] = self._known.get("DF31", b"") + self._script(script.value, deadline_s)
        return bool(scripts)

    def _script(self, script: bytes, deadline_s: float) -> bytes:
        identity, number = bytes(4), 0
        for item in emv.parse_tlv(script):
            if item.tag == "9F18":
                identity = item.value[:4].ljust(4, b"\0")
            elif item.tag == emv.TAG_SCRIPT_COMMAND and len(item.value) >= 5:
                number += 1
                cla, ins, p1, p2 = item.value[:4]
                answer = self.channel.transmit(Apdu(cla, ins, p1, p2, item.value[5:]), deadline_s)
                if answer.sw >> 8 not in (0x90, 0x62, 0x63):
                    return bytes([0x10 | min(number, 15)]) + identity
        return bytes([0x20]) + identity

    def _generate(self, kind: str, dol_tag: str, deadline_s: float) -> ChipResult:
        if dol_tag not in self._known:
            raise CardUnreadable(f"the card has no list of data for its cryptogram ({dol_tag})")
        try:
            data = emv.fill_dol(self._known[dol_tag], self._known)
            raw = self._command("the cryptogram", Apdu(0x80, 0xAE, AC_REQUESTS[kind], 0, data, 0), deadline_s)
            cryptogram = emv.parse_cryptogram(raw)
        except FrameError as error:
            raise CardUnreadable(f"the cryptogram: {error.text}") from None
        self._known |= cryptogram
        return self._result(emv.cryptogram_name(cryptogram[emv.TAG_CID][0]))

    def _result(self, kind: str) -> ChipResult:
        known: Mapping[str, bytes] = self._known
        return ChipResult(
            kind,
            known[emv.TAG_ATC].hex().upper(),
            emv.chip_data(emv.ONLINE_TAGS, known),
            emv.chip_data(REVERSAL_TAGS, known),
            self.script_chip_data(),
        )

    def script_chip_data(self) -> str:
        """What the host is told of its scripts; "" where none ran. Also of a card that was pulled after them."""
        return emv.chip_data(SCRIPT_TAGS, self._known) if "DF31" in self._known else ""

    # ------------------------------------------------------------ what the card remembers

    def counter(self, tag: str, deadline_s: float) -> int | None:
        """GET DATA for 9F36 (transactions) or 9F13 (last one completed online); None = the card does not tell."""
        answer = self.channel.transmit(Apdu(0x80, 0xCA, int(tag[:2], 16), int(tag[2:], 16), b"", 0), deadline_s)
        if answer.sw != SW_OK:
            return None
        value = self._understood("a counter", answer.data).get(tag, b"")
        return int.from_bytes(value, "big") if value else None


def _select_apdu(name: bytes) -> Apdu:
    return Apdu(0x00, 0xA4, 0x04, 0x00, name, 0)


def _read_apdu(sfi: int, number: int) -> Apdu:
    return Apdu(0x00, 0xB2, number, sfi << 3 | 4, b"", 0)


def _options_apdu(pdol_data: bytes) -> Apdu:
    return Apdu(0x80, 0xA8, 0x00, 0x00, emv.build_tlv("83", pdol_data), 0)
