"""A PIN pad with VeriFone IPP packets, as UIC's PP791 documents them.

    > <SI>04 0<SO>L         ACK     is there a key in slot 0?
    < <SI>04 F<SO>L         (ACK)   < EOT
    > <STX>70.6212...<FS>session key, amount<FS>1<ETX>L     ACK, the person types
    < <STX>71.00601 1122334455667788<ETX>L                  (ACK), or EOT: cancelled or timed out

Answers to administration packets end with EOT from the pad once they are acknowledged; 71 and Z67 do not
(PP791 pp.35, 39, 205). Sources: UIC PP791 Programmer's Manual rev 06 sections 5 and 9; VeriFone MX800 guide
pp.336-339 for the Z66 flags. Line: 7E1 on the real pad; a pty cannot carry parity, so 8N1 there.
"""

from __future__ import annotations

from collections.abc import Callable

from hwsim.devices.device import FRAME_PAUSE_S, SimDevice, Timer
from hwsim.devices.ipp import ACK, EOT, FS, GS, NAK, RS, SUB, Control, Damaged, Packet, PacketReader
from hwsim.devices.person import Person
from hwsim.devices.pin_entry import PinRequest, parse_request, refusal
from hwsim.devices.pinpad_keys import (
    ALL_SLOTS,
    KEY_HEX_LENGTHS,
    PIN_SLOTS,
    TEST_KEYS,
    KeyStore,
    is_hex,
    pin_block,
)
from hwsim.devices.pinpad_mac import MacSession

MAX_TRIES = 3  # PP791 p.26: EOT after three NAKs
ACK_WAIT_S = 5.0  # assumed: how long the pad waits for the ACK of what it sent
DEFAULT_SERIAL = "000000000000"
MAX_SERIAL = 12


class PinPad(SimDevice):
    """The pad: one session at a time, keys that survive power, a display, a scripted person."""

    kind = "pinpad"
    baud = 19200
    line_format = "7E1"

    def __init__(self, seed: int = 0, *, needs_prompt: bool = True) -> None:
        super().__init__(seed)
        self.person = Person()
        self.keys = KeyStore()
        self.serial = DEFAULT_SERIAL
        self.tampered = False
        self._needs_prompt = needs_prompt
        self._lost_acks = 0
        self.power_on()

    def load_key(self, slot: str | int, key: str) -> None:
        """Puts a master key in as in the secure room: hex digits, or a name of `TEST_KEYS`."""
        self.keys.load(str(slot), TEST_KEYS.get(key, key))

    def actions(self) -> dict[str, Callable[..., object]]:
        return {"person": self.person.plan, "load-key": self.load_key}

    def power_on(self) -> None:
        self._reader = PacketReader()
        self._last_byte_at = 0.0
        self._naks_sent = 0
        self._mac = MacSession(self.keys)
        self.selected = "0"
        self._sent: bytes = b""
        self._tries = 0
        self._on_ack: Callable[[], None] | None = None
        self._on_refusal: Callable[[], None] | None = None
        self._ack_timer: Timer | None = None
        self._entry: PinRequest | None = None
        self._entry_timers: list[Timer] = []
        self._prompted = False
        self.display = ["WELCOME"]

    def details(self) -> dict[str, object]:
        return {
            "display": list(self.display),
            "waiting_for_pin": self._entry is not None,
            "selected_key": self.selected,
            "key_slots": self.keys.slots(),
            "tampered": self.tampered,
            "planned_acts": self.person.planned,
            "serial": self.serial,
            "noise_bytes": self._reader.noise_bytes,
        }

    # Faults of the pad and its person

    def fault_pin_timeout(self, seconds: float = 0.0) -> None:
        """At the next prompt the person walks away (`seconds` shortens the pad's own time-out; 0: leaves it)."""
        self.person.plan("wait", after_s=seconds)

    def fault_pin_cancel(self, after_s: float = 0.0) -> None:
        """At the next prompt the person presses the cancel key."""
        self.person.plan("cancel", after_s=after_s)

    def fault_tamper(self, repaired: bool = False) -> None:
        """The case was opened: every key is erased, the pad serves no PIN and no MAC any more (`repaired`: it is
        back from its maker, without keys)."""
        self.keys.erase()
        self.tampered = not repaired
        self._end_entry()
        self.display = [""] if repaired else ["TAMPER"]

    def fault_no_ack(self, count: int = 1) -> None:
        """The next `count` packets are executed, but their ACK is lost."""
        self._lost_acks = count

    # Bytes in

    def receive(self, data: bytes) -> None:
        if self._reader.partial and self.now - self._last_byte_at > FRAME_PAUSE_S:
            self.counters["frames abandoned"] += 1
            self._reader.forget()
        self._last_byte_at = self.now
        for found in self._reader.feed(data):
            if isinstance(found, Control):
                self._control(found.byte)
            elif isinstance(found, Damaged) or self.line.refuses():
                self._refuse()
            else:
                self._naks_sent = 0
                self._packet(found)

    def _control(self, byte: int) -> None:
        if byte == NAK and self._sent:
            self._send_again()
            return
        done, refused = self._on_ack, self._on_refusal
        if byte == EOT:
            self._end_entry()
        self._settle()
        chosen = done if byte == ACK else refused if byte == EOT else None
        if chosen is not None:
            chosen()

    def _refuse(self) -> None:
        self._naks_sent += 1
        self.counters["NAK sent"] += 1
        if self._naks_sent >= MAX_TRIES:
            self._naks_sent = 0
            self.emit(bytes([EOT]), counted=False)
        else:
            self.emit(bytes([NAK]), counted=False)

    def _packet(self, packet: Packet) -> None:
        self.counters["packets"] += 1
        self._settle()
        if self._entry is not None:
            self._end_entry()
            if packet.text == "72":
                self.display = ["CANCELLED"]
                self.emit(bytes([EOT]), counted=False)
                return
        self._acknowledge()
        handlers = ADMIN if packet.admin else TRANSACTION
        for prefix, handler in handlers:
            if packet.text.startswith(prefix):
                self.counters[f"messages {prefix.rstrip('.')}"] += 1
                handler(self, packet.text[len(prefix) :])
                return
        self.counters["unknown packets"] += 1
        self.emit(bytes([EOT]), counted=False)  # assumed: the manual names no answer to an unknown packet

    def _acknowledge(self) -> None:
        if self._lost_acks > 0:
            self._lost_acks -= 1
            return
        self.emit(bytes([ACK]), counted=False)

    # Packets out: each waits for its ACK, is sent again at NAK, and ends with EOT after three tries

    def _say(
        self,
        admin: bool,
        text: str,
        on_ack: Callable[[], None] | None = None,
        on_refusal: Callable[[], None] | None = None,
    ) -> None:
        self._sent, self._tries = Packet(admin, text).encode(), 1
        self._on_ack, self._on_refusal = on_ack, on_refusal
        self._ack_timer = self.after(ACK_WAIT_S, self._no_ack_came)
        self.emit(self._sent)

    def _send_again(self) -> None:
        self.counters["NAK received"] += 1
        self._tries += 1
        if self._tries > MAX_TRIES:
            self._give_up()
        else:
            self.emit(self._sent)

    def _no_ack_came(self) -> None:
        self.counters["ACK missing"] += 1
        self._give_up()

    def _give_up(self) -> None:
        self._settle()
        self.emit(bytes([EOT]), counted=False)

    def _settle(self) -> None:
        self.cancel(self._ack_timer)
        self._ack_timer, self._sent = None, b""
        self._on_ack = self._on_refusal = None

    def _finish(self) -> None:
        self.emit(bytes([EOT]), counted=False)

    # Administration

    def load_master_key(self, text: str) -> None:
        slot, key_hex = text[:1], text[1:].split(FS)[0]
        if slot not in ALL_SLOTS or len(key_hex) not in KEY_HEX_LENGTHS or not is_hex(key_hex) or self.tampered:
            self._finish()
            return

        def store() -> None:
            self.keys.load(slot, key_hex)
            self._finish()

        self._say(True, "02" + text, on_ack=store)

    def key_present(self, text: str) -> None:
        self._say(True, "04" + ("F" if self.keys.has(text[:1]) else "0"), on_ack=self._finish)

    def load_serial(self, text: str) -> None:
        def store() -> None:
            self.serial = text
            self._finish()

        if len(text) > MAX_SERIAL or not (text.isalnum() or not text):
            self._finish()
        else:
            self._say(True, "05" + text, on_ack=store)

    def tell_serial(self, _text: str) -> None:
        self._say(True, "06" + self.serial, on_ack=self._finish)

    def select_key(self, text: str) -> None:
        # The pad does not look whether the slot holds a key (PP791 p.39).
        good = len(text) == 1 and text in PIN_SLOTS
        if good:
            self.selected = text
        self._say(True, "080" if good else "081", on_ack=self._finish)

    # PIN entry

    def pin_entry(self, text: str) -> None:
        self._start_entry(text, amount=True)

    def pin_entry_own_prompt(self, text: str) -> None:
        if self._needs_prompt and not self._prompted:
            self.counters["Z60 without prompt"] += 1
            self._finish()  # PP791 p.226: Z2 or Z3 first, or the pad sends EOT and stops
            return
        self._start_entry(text, amount=False)

    def _start_entry(self, text: str, amount: bool) -> None:
        request = parse_request(text, amount)
        error = refusal(request, self.keys, self.selected)
        if error:
            self._say(False, "71" + error)
            return
        if amount:
            self.display = [f"TOTAL {request.amount}".strip(), "ENTER PIN"]
        self._entry = request
        act = self.person.next_act()
        self._entry_timers = [self.after(request.timeout_s, self._entry_over)]
        if act.kind == "enter":
            self._entry_timers.append(self.after(act.after_s, lambda: self._entered(act.pin)))
        elif act.kind == "cancel" or act.after_s > 0:
            self._entry_timers.append(self.after(act.after_s, self._entry_over))

    def _entered(self, pin: str) -> None:
        request = self._entry
        if request is None:
            return
        self._end_entry()
        working = self.keys.working_key(self.selected, request.key_hex)
        self.display = ["PIN PAD PROCESSING"]
        self.counters["PIN entered"] += 1
        self._say(False, f"71.0{len(pin):02d}01{pin_block(working, pin, request.account)}")

    def _entry_over(self) -> None:
        """The cancel key, or the time is over: the pad sends EOT."""
        self._end_entry()
        self.counters["PIN not entered"] += 1
        self.display = ["CANCELLED"]
        self._finish()

    def _end_entry(self) -> None:
        for timer in self._entry_timers:
            self.cancel(timer)
        self._entry_timers = []
        self._entry = None
        self._prompted = False

    # The rest

    def cancel_request(self, _text: str) -> None:
        self._end_entry()
        self._mac.reset()
        self.display = ["WELCOME"]

    def show(self, text: str) -> None:
        lines = text.replace(SUB, "").lstrip(GS + RS).split(FS)
        self._prompted = True
        self.display = lines if SUB in text or text[:1] in (GS, RS) else [*self.display, *lines][-4:]
        if text.startswith(GS):
            self._say(False, "Z20", on_ack=self._finish)

    def mac(self, text: str) -> None:
        self._say(False, "Z67" + self._mac.answer(text, self.selected))


Handler = Callable[[PinPad, str], None]
ADMIN: tuple[tuple[str, Handler], ...] = (
    ("02", PinPad.load_master_key),
    ("04", PinPad.key_present),
    ("05", PinPad.load_serial),
    ("06", PinPad.tell_serial),
    ("08", PinPad.select_key),
)
TRANSACTION: tuple[tuple[str, Handler], ...] = (
    ("70.", PinPad.pin_entry),
    ("72", PinPad.cancel_request),
    ("Z60.", PinPad.pin_entry_own_prompt),
    ("Z66", PinPad.mac),
    ("Z1", PinPad.cancel_request),
    ("Z2", PinPad.show),
    ("Z3", PinPad.show),
)
