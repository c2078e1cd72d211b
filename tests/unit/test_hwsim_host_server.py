"""The simulated host on TCP: connections, waiting, outages, TLS, control port, the command."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hwsim.host.command import EXIT_CONFIG, main
from hwsim.host.machine import HostMachine
from hwsim.host.server import HostServer, HostServerError, HostWaitExpired
from hwsim.host.settings import HostSettings
from hwsim.host.terminal import CARD, BenchLink, BenchTerminal

SETTINGS = HostSettings()
TERMINAL = BenchTerminal(SETTINGS)


def sell(link: BenchLink, stan: str, amount_minor: int = 1000) -> str:
    """The response code of one sale."""
    link.send(TERMINAL.frame(TERMINAL.sale(stan, amount_minor)))
    payload = link.receive()
    assert payload is not None
    return TERMINAL.read(payload).get(39)


def test_several_connections_share_the_books() -> None:
    with HostServer(settings=SETTINGS) as host, contextlib.ExitStack() as stack:
        links = [stack.enter_context(BenchLink(host.address)) for _ in range(5)]
        threads = [threading.Thread(target=sell, args=(link, f"00000{n}")) for n, link in enumerate(links)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert host.ledger.net() == {"156": 5000}
        assert host.open_connections == 5


def test_two_requests_in_one_segment_are_both_answered_in_order() -> None:
    with HostServer(settings=SETTINGS) as host, BenchLink(host.address) as link:
        link.send(b"".join(TERMINAL.frame(TERMINAL.sale(stan, 1000)) for stan in ("000001", "000002")))
        payloads = [link.receive(), link.receive()]
        assert [TERMINAL.read(payload).get(11) for payload in payloads if payload] == ["000001", "000002"]


def test_a_request_may_arrive_byte_by_byte() -> None:
    with HostServer(settings=SETTINGS) as host, BenchLink(host.address) as link:
        for byte in TERMINAL.frame(TERMINAL.sale("000001", 1000)):
            link.send(bytes([byte]))
        assert link.receive() is not None


def test_half_a_request_charges_nothing_and_is_counted() -> None:
    with HostServer(settings=SETTINGS) as host:
        frame = TERMINAL.frame(TERMINAL.sale("000001", 1000))
        with BenchLink(host.address) as link:
            link.send(frame[:-1])
        host.wait_for(lambda ledger: host.machine.stats["partial-frames"] == 1)
        assert host.ledger.rows() == []


def test_a_frame_of_length_zero_ends_the_connection() -> None:
    with HostServer(settings=SETTINGS) as host, BenchLink(host.address) as link:
        link.send(b"\x00\x00")
        assert link.receive() is None
        assert host.machine.stats["bad-frames"] == 1


def test_wait_for_returns_when_the_books_are_so() -> None:
    with HostServer(settings=SETTINGS) as host, BenchLink(host.address) as link:
        host.faults.add("0200", "late-request", value=0.05)
        link.send(TERMINAL.frame(TERMINAL.sale("000001", 1000)))
        host.wait_for(lambda ledger: ledger.net() == {"156": 1000}, deadline_s=5)


def test_wait_for_says_what_the_books_were() -> None:
    with HostServer(settings=SETTINGS) as host, BenchLink(host.address) as link:
        sell(link, "000001")
        with pytest.raises(HostWaitExpired, match="stan 000001 charged"):
            host.wait_for(lambda ledger: ledger.net() == {}, deadline_s=0.01)


def test_a_late_request_is_processed_although_the_terminal_has_gone() -> None:
    with HostServer(settings=SETTINGS) as host:
        host.faults.add("0200", "late-request", value=0.5)
        with BenchLink(host.address) as link:
            link.send(TERMINAL.frame(TERMINAL.sale("000001", 1000)))
            host.wait_for(lambda ledger: host.machine.stats["0200"] == 1)
        host.wait_for(lambda ledger: ledger.net() == {"156": 1000}, deadline_s=5)
        assert host.machine.stats["replies-undeliverable"] == 1


def test_refused_connections_and_back_again() -> None:
    with HostServer(settings=SETTINGS) as host:
        with BenchLink(host.address) as open_before:
            host.refuse_connections()
            with pytest.raises(ConnectionRefusedError):
                BenchLink(host.address)
            assert sell(open_before, "000001") == "00"
        host.refuse_connections()
        host.refuse_connections(False)
        with BenchLink(host.address) as link:
            assert sell(link, "000002") == "00"


def test_hanging_connections_are_accepted_and_never_read() -> None:
    with HostServer(settings=SETTINGS) as host:
        host.hang_connections()
        with BenchLink(host.address) as link:
            link.send(TERMINAL.frame(TERMINAL.sale("000001", 1000)))
            with pytest.raises(TimeoutError):
                link.receive(0.15)
        host.hang_connections(False)
        with BenchLink(host.address) as link:
            assert sell(link, "000002") == "00"
        assert [row.key.stan for row in host.ledger.rows()] == ["000002"]


@pytest.mark.parametrize("reset", [False, True])
def test_open_connections_can_be_ended(reset: bool) -> None:
    with HostServer(settings=SETTINGS) as host, BenchLink(host.address) as link:
        sell(link, "000001")
        assert host.drop_connections(reset=reset) == 1
        if reset:
            with pytest.raises(ConnectionResetError):
                link.receive()
        else:
            assert link.receive() is None


def test_the_host_stops_and_comes_back_on_the_same_port_with_the_same_books() -> None:
    host = HostServer(settings=SETTINGS).start()
    with BenchLink(host.address) as link:
        sell(link, "000001")
        address = host.address
        host.stop()
        assert link.receive() is None
    with pytest.raises(ConnectionRefusedError):
        BenchLink(address)
    with host.start(), BenchLink(address) as link:
        assert sell(link, "000001") == "00"
        assert host.ledger.net() == {"156": 1000}


def test_a_host_process_can_be_replaced_by_another_with_the_same_ledger_file(tmp_path: Path) -> None:
    path = tmp_path / "books.json"
    with HostServer(settings=SETTINGS, ledger_path=path) as host, BenchLink(host.address) as link:
        sell(link, "000001")
    with HostServer(settings=SETTINGS, ledger_path=path) as host, BenchLink(host.address) as link:
        link.send(TERMINAL.frame(TERMINAL.reversal(TERMINAL.sale("000001", 1000))))
        assert link.receive() is not None
        assert host.ledger.net() == {"156": 0}


def test_a_port_in_use_is_a_clear_error() -> None:
    with HostServer() as host, pytest.raises(HostServerError, match="cannot listen"):
        HostServer(port=host.port).start()


@pytest.mark.parametrize(("port", "control"), [(70_000, ""), (0, "127.0.0.1:many"), (0, "/nowhere/control.sock")])
def test_an_impossible_address_is_a_clear_error(port: int, control: str) -> None:
    with pytest.raises(HostServerError, match="cannot listen"):
        HostServer(port=port, control=control).start()


def test_a_defect_of_the_bench_is_reported_at_the_end(tmp_path: Path) -> None:
    """The ledger's directory vanishes: no reply, and `stop` raises instead of hiding it."""
    place = tmp_path / "books"
    place.mkdir()
    host = HostServer(settings=SETTINGS, ledger_path=place / "books.json").start()
    place.rmdir()
    with BenchLink(host.address) as link:
        link.send(TERMINAL.frame(TERMINAL.sale("000001", 1000)))
        assert link.receive() is None
    with pytest.raises(HostServerError, match="LedgerError"):
        host.stop()


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, valid for an hour."""
    place = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (place / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (place / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return place / "cert.pem", place / "key.pem"


def tls_server(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def tls_client() -> ssl.SSLContext:
    """Trust is not what these tests are about."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_sale_over_tls(certificate: tuple[Path, Path]) -> None:
    with (
        HostServer(settings=SETTINGS, tls=tls_server(certificate)) as host,
        BenchLink(host.address, tls=tls_client()) as link,
    ):
        assert sell(link, "000001") == "00"


def test_plain_text_to_a_tls_host_charges_nothing(certificate: tuple[Path, Path]) -> None:
    with HostServer(settings=SETTINGS, tls=tls_server(certificate)) as host:
        with BenchLink(host.address) as link:
            link.send(TERMINAL.frame(TERMINAL.sale("000001", 1000)))
            with contextlib.suppress(ConnectionResetError):
                while link.receive_raw():
                    pass
        assert host.ledger.rows() == []


# -- control port


class Controller:
    """A client of the control port."""

    def __init__(self, address: str) -> None:
        if "/" in address:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(5)
            self._socket.connect(address)
        else:
            name, _, port = address.rpartition(":")
            self._socket = socket.create_connection((name, int(port)), timeout=5)
        self._lines = self._socket.makefile("rb")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def order(self, **order: Any) -> dict[str, Any]:
        return self.line(json.dumps(order).encode())

    def line(self, text: bytes) -> dict[str, Any]:
        self._socket.sendall(text + b"\n")
        answer = json.loads(self._lines.readline())
        assert isinstance(answer, dict)
        return answer


@pytest.fixture
def host() -> Iterator[HostServer]:
    with HostServer(settings=SETTINGS, control="127.0.0.1:0") as server:
        yield server


@pytest.fixture
def control(host: HostServer) -> Iterator[Controller]:
    with contextlib.closing(Controller(host.control_address)) as opened:
        yield opened


def test_faults_can_be_ordered_and_seen(host: HostServer, control: Controller) -> None:
    assert control.order(do="fault", on="0200", fault="code", value="96", nth=2) == {"ok": True}
    with BenchLink(host.address) as link:
        assert [sell(link, f"00000{n}") for n in range(3)] == ["00", "96", "00"]
    faults = control.order(do="faults")["faults"]
    assert [(fault["fault"], fault["seen"], fault["fired"]) for fault in faults] == [("code", 3, 1)]
    assert control.order(do="clear-faults") == {"ok": True}
    assert control.order(do="faults")["faults"] == []


def test_the_books_can_be_asked(host: HostServer, control: Controller) -> None:
    with BenchLink(host.address) as link:
        sell(link, "000001")
        sell(link, "000001")
    row = control.order(do="ledger")["rows"][0]
    assert (row["stan"], row["state"], row["net_minor"], row["requests"]) == ("000001", "charged", 1000, 2)
    assert control.order(do="net") == {"ok": True, "net": {"156": 1000}, "held": {"156": 0}}
    assert [found["name"] for found in control.order(do="violations")["violations"]] == ["request-sent-again"]
    assert control.order(do="stats")["stats"]["0200"] == 2
    everything = json.dumps([control.order(do=name) for name in ("ledger", "violations", "stats", "transcript")])
    assert CARD not in everything


def test_connections_can_be_refused_hung_and_ended(host: HostServer, control: Controller) -> None:
    with BenchLink(host.address) as link:
        sell(link, "000001")
        assert control.order(do="reset-connections") == {"ok": True, "ended": 1}
        with pytest.raises(ConnectionResetError):
            link.receive()
    assert control.order(do="refuse-connections", on=True) == {"ok": True}
    assert control.order(do="stats")["ok"]
    with pytest.raises(ConnectionRefusedError):
        BenchLink(host.address)
    assert control.order(do="refuse-connections", on=False) == {"ok": True}
    assert control.order(do="hang-connections", on=True) == {"ok": True}
    with BenchLink(host.address) as link:
        link.send(TERMINAL.frame(TERMINAL.sale("000002", 1000)))
        with pytest.raises(TimeoutError):
            link.receive(0.15)
        assert control.order(do="drop-connections") == {"ok": True, "ended": 1}


def test_the_control_port_can_wait_for_a_state(host: HostServer, control: Controller) -> None:
    host.faults.add("0200", "late-request", value=0.05)
    with BenchLink(host.address) as link:
        link.send(TERMINAL.frame(TERMINAL.sale("000001", 1000)))
        assert control.order(do="wait", state="charged", count=1, deadline_s=5) == {"ok": True, "count": 1}
    late = control.order(do="wait", state="reversed", deadline_s=0.01)
    assert late["ok"] is False
    assert "0 of 1 entries reversed" in late["error"]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[]",
        b"{}",
        b'{"do": "dance"}',
        b'{"do": "fault"}',
        b'{"do": "fault", "on": "0200", "fault": "explode"}',
        b'{"do": "fault", "on": "0200", "fault": "drop-reply", "nth": "two"}',
        b'{"do": "refuse-connections", "on": "yes"}',
        b'{"do": "wait", "state": "charged", "count": "many"}',
    ],
)
def test_a_wrong_order_is_refused_and_the_next_is_heard(control: Controller, line: bytes) -> None:
    answer = control.line(line)
    assert answer["ok"] is False
    assert answer["error"].startswith("E-HOST-")
    assert "drop-reply" in control.order(do="help")["faults"]


def test_a_line_without_end_is_cut_off(control: Controller) -> None:
    assert control.line(b"x" * 200_000)["ok"] is False


def test_a_unix_socket_left_behind_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(path))
    with HostServer(control=str(path)) as host, contextlib.closing(Controller(host.control_address)) as control:
        assert control.order(do="net")["ok"]
    other = tmp_path / "precious"
    other.write_text("do not delete")
    with pytest.raises(HostServerError, match="cannot listen"):
        HostServer(control=str(other)).start()
    assert other.read_text() == "do not delete"


# -- the command


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command as a process, and the words of its ready line."""
    code = "import sys; from hwsim.host import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()
        finally:
            process.kill()


def test_the_command_runs_until_sigterm(tmp_path: Path) -> None:
    books, control = tmp_path / "books.json", tmp_path / "control.sock"
    arguments = ["--ledger", str(books), "--control", str(control), "--fault", "0400:drop-reply"]
    with running("--dialect", "unionpay", *arguments) as (process, ready):
        assert ready == ["ready", "unionpay", ready[2], "control", str(control)]
        with BenchLink(ready[2]) as link:
            assert sell(link, "000001") == "00"
        with contextlib.closing(Controller(str(control))) as controller:
            assert controller.order(do="net")["net"] == {"156": 1000}
            assert controller.order(do="faults")["faults"][0]["fault"] == "drop-reply"
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    assert "0200 terminal 10000001 stan 000001 amount 000000001000 card 620000******0005 -> 0210 00" in output
    assert CARD not in output
    assert CARD not in books.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fault", "0200:explode"], "E-HOST-FAULT"),
        (["--fault", "{"], "not JSON"),
        (["--fault", '{"on": "0200"}'], "other keys"),
        (["--key-file", "/nowhere/key"], "cannot read a key"),
        (["--tls-cert", "/nowhere/cert.pem"], "cannot use the certificate"),
        (["--ledger", "/dev/null"], "cannot read /dev/null"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == EXIT_CONFIG
    assert says in capsys.readouterr().err


def test_a_port_in_use_ends_the_command_with_a_clear_text(capsys: pytest.CaptureFixture[str]) -> None:
    with HostServer() as host:
        assert main(["--port", str(host.port)]) == EXIT_CONFIG
    assert "cannot listen" in capsys.readouterr().err


def test_a_key_file_is_used_and_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    path.write_text("0011223344")
    assert main(["--key-file", str(path)]) == EXIT_CONFIG
    errors = capsys.readouterr().err
    assert "has 5 bytes" in errors
    assert "0011223344" not in errors


def test_the_machine_needs_no_server() -> None:
    machine = HostMachine(SETTINGS)
    assert machine.handle(TERMINAL.frame(TERMINAL.sale("000001", 1000))[2:], 0.0)
    assert machine.ledger.net() == {"156": 1000}
