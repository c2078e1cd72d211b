"""TLS: the right host or none, exact to the byte as without it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.hostlink import Host, Lost, Replied, Unsent
from agent.status_conditions import certificate_days
from agent.tls import tls_client
from agent.tls_certificate import not_after, public_key_hash
from agent.tls_settings import TlsError, TlsSettings
from tests.unit.hostlink_bench import ANSWER, OTHER, REQUEST, TICK_S, Bench, framed, play
from tests.unit.status_samples import link

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(2049, 6, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key in files."""

    certificate: Path
    key: Path
    x509: x509.Certificate
    private: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.x509.public_bytes(serialization.Encoding.DER)


def issue(folder: Path, name: str, by: Identity | None = None, end: datetime = END) -> Identity:
    """A certificate for 127.0.0.1, signed by `by` or by itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.x509.subject if by else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    certificate = builder.sign(by.private if by else private, hashes.SHA256())
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(private.private_bytes(serialization.Encoding.PEM, form, plain))
    return Identity(*paths, certificate, private)


@dataclass(frozen=True)
class Authority:
    ca: Identity
    host: Identity
    client: Identity
    stranger: Identity


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("papers")
    ca = issue(folder, "ca")
    return Authority(ca, issue(folder, "host", ca), issue(folder, "client", ca), issue(folder, "stranger"))


def pin_of(identity: Identity) -> bytes:
    """By another road than the program: cryptography encodes the key."""
    key = identity.x509.public_key()
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(encoded)
    return digest.finalize()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def tls_host(
    papers: Authority,
    wants_client: bool = False,
    version: ssl.TLSVersion | None = None,
    identity: Identity | None = None,
) -> AsyncIterator[tuple[int, asyncio.Queue[Streams]]]:
    """A TLS server; connections that passed the handshake come through the queue."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = identity or papers.host
    context.load_cert_chain(own.certificate, own.key)
    if version:
        context.minimum_version = context.maximum_version = version
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(papers.ca.certificate)
    came: asyncio.Queue[Streams] = asyncio.Queue()
    writers = []

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        came.put_nowait((reader, writer))

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await writer.wait_closed()
        await server.wait_closed()


def host_at(port: int, **settings: object) -> Host:
    return Host("127.0.0.1", port, tls_client(TlsSettings(**settings), "127.0.0.1"))  # type: ignore[arg-type]


async def answered(bench: Bench, came: asyncio.Queue[Streams], reply: bytes = ANSWER) -> Replied:
    bench.start()
    reader, writer = await came.get()
    assert await reader.readexactly(len(framed(REQUEST))) == framed(REQUEST)
    writer.write(framed(reply))
    outcome = await bench.outcome()
    assert isinstance(outcome, Replied)
    return outcome


async def refused(bench: Bench, words: str) -> None:
    """The exchange ends unsent, for a TLS reason with these words."""
    bench.start()
    outcome = await bench.outcome()
    assert isinstance(outcome, Unsent)
    assert outcome.cause == "network"
    assert words in outcome.text
    assert bench.link.link_state().last_error_code == "E-LINK-TLS"
    assert bench.link.link_state().state == "down"


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["ca", "pin", "both"])
def test_a_host_known_by_ca_or_pin_is_talked_to(papers: Authority, version: ssl.TLSVersion, how: str) -> None:
    settings: dict[str, object] = {}
    if how != "pin":
        settings["ca_file"] = str(papers.ca.certificate)
    if how != "ca":
        settings["pins"] = (pin_of(papers.host).hex(),)

    async def story(bench: Bench) -> None:
        async with tls_host(papers, version=version) as (port, came):
            bench.build(host_at(port, **settings))
            await answered(bench, came)
            assert bench.link.link_state().certificate_not_after == END
            await bench.link.close()

    play(story)


def test_a_persistent_tls_connection_carries_the_next_exchange(papers: Authority) -> None:
    async def story(bench: Bench) -> None:
        async with tls_host(papers) as (port, came):
            bench.build(host_at(port, ca_file=str(papers.ca.certificate)))
            bench.start(1)
            reader, writer = await came.get()
            for number in (2, 3, 0):
                assert await reader.readexactly(len(framed(REQUEST))) == framed(REQUEST)
                writer.write(framed(OTHER) + framed(ANSWER))
                assert isinstance(await bench.outcome(), Replied)
                assert (await bench.strays.get())[1].body == OTHER
                if number:
                    bench.start(number)
            assert bench.link.link_state().counters.connects == 1
            await bench.link.close()

    play(story, persistent_connection=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_host_of_another_authority_gets_no_byte(papers: Authority, version: ssl.TLSVersion) -> None:
    async def story(bench: Bench) -> None:
        async with tls_host(papers, version=version, identity=papers.stranger) as (port, _):
            bench.build(host_at(port, ca_file=str(papers.ca.certificate)))
            await refused(bench, "certificate refused")
            await bench.link.close()

    play(story)


@pytest.mark.parametrize("with_ca", [True, False])
def test_a_host_with_another_key_than_the_pinned_one_gets_no_byte(papers: Authority, with_ca: bool) -> None:
    async def story(bench: Bench) -> None:
        async with tls_host(papers) as (port, came):
            ca_file = str(papers.ca.certificate) if with_ca else ""
            bench.build(host_at(port, ca_file=ca_file, pins=(pin_of(papers.stranger).hex(),)))
            await refused(bench, "not the pinned one")
            reader, _ = await came.get()
            assert await reader.read() == b""
            await bench.link.close()

    play(story)


def test_a_certificate_for_another_name_gets_no_byte(papers: Authority) -> None:
    async def story(bench: Bench) -> None:
        async with tls_host(papers) as (port, _):
            bench.build(host_at(port, ca_file=str(papers.ca.certificate), server_name="acquirer.example"))
            await refused(bench, "certificate refused")
            await bench.link.close()

    play(story)


def test_an_expired_certificate_gets_no_byte(papers: Authority, tmp_path: Path) -> None:
    old = issue(tmp_path, "old", papers.ca, end=datetime(2021, 1, 1, tzinfo=UTC))

    async def story(bench: Bench) -> None:
        async with tls_host(papers, identity=old) as (port, _):
            bench.build(host_at(port, ca_file=str(papers.ca.certificate)))
            await refused(bench, "expired")
            await bench.link.close()

    play(story)


@pytest.mark.parametrize("version", VERSIONS)
def test_our_certificate_opens_the_door(papers: Authority, version: ssl.TLSVersion) -> None:
    async def story(bench: Bench) -> None:
        async with tls_host(papers, wants_client=True, version=version) as (port, came):
            client = {"client_certificate": str(papers.client.certificate), "client_key": str(papers.client.key)}
            bench.build(host_at(port, ca_file=str(papers.ca.certificate), **client))
            await answered(bench, came)
            await bench.link.close()

    play(story)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_our_certificate_no_answer_comes(papers: Authority, version: ssl.TLSVersion) -> None:
    """TLS 1.3 tells us only after our message may have left: then it is lost, not unsent."""

    async def story(bench: Bench) -> None:
        async with tls_host(papers, wants_client=True, version=version) as (port, came):
            bench.build(host_at(port, ca_file=str(papers.ca.certificate)))
            bench.start()
            outcome = await bench.outcome()
            assert isinstance(outcome, Unsent if version is ssl.TLSVersion.TLSv1_2 else Lost)
            assert came.empty()
            await bench.link.close()

    play(story)


def test_a_host_that_speaks_no_tls_gets_no_byte_of_the_message(papers: Authority) -> None:
    async def story(bench: Bench) -> None:
        bench.build(bench.host.at(tls_client(TlsSettings(ca_file=str(papers.ca.certificate)), "127.0.0.1")))
        bench.start()
        peer = await bench.host.accept()
        await peer.send(framed(ANSWER))
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert "E-LINK-TLS" in outcome.text

    play(story)


def test_a_greeting_that_is_never_answered_is_unsent_in_time(papers: Authority) -> None:
    async def story(bench: Bench) -> None:
        bench.build(bench.host.at(tls_client(TlsSettings(ca_file=str(papers.ca.certificate)), "127.0.0.1")))
        bench.start()
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert "E-LINK-CONNECT-TIMEOUT" in outcome.text

    play(story, connect_timeout_s=TICK_S)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_host_that_closes_the_tls_stream_is_lost(papers: Authority, version: ssl.TLSVersion) -> None:
    async def story(bench: Bench) -> None:
        async with tls_host(papers, version=version) as (port, came):
            bench.build(host_at(port, ca_file=str(papers.ca.certificate)))
            bench.start()
            reader, writer = await came.get()
            await reader.readexactly(len(framed(REQUEST)))
            writer.close()
            outcome = await bench.outcome()
            assert isinstance(outcome, Lost)
            assert outcome.cause == "eof"
            await bench.link.close()

    play(story)


def test_an_answer_in_front_of_the_closing_alert_counts(papers: Authority) -> None:
    async def story(bench: Bench) -> None:
        async with tls_host(papers) as (port, came):
            bench.build(host_at(port, ca_file=str(papers.ca.certificate)))
            bench.start()
            reader, writer = await came.get()
            await reader.readexactly(len(framed(REQUEST)))
            writer.write(framed(ANSWER))
            writer.close()
            assert isinstance(await bench.outcome(), Replied)
            await bench.link.close()

    play(story)


def test_a_damaged_tls_record_is_lost(papers: Authority) -> None:
    """A relay between the two flips a byte of what the host says after the greeting."""

    async def story(bench: Bench) -> None:
        async with tls_host(papers) as (port, came), damaging_relay(port) as (relay, damage):
            bench.build(host_at(relay, ca_file=str(papers.ca.certificate)))
            bench.start()
            reader, writer = await came.get()
            await reader.readexactly(len(framed(REQUEST)))
            damage.set()
            writer.write(framed(ANSWER))
            outcome = await bench.outcome()
            assert isinstance(outcome, Lost)
            assert outcome.cause == "garbage"
            await bench.link.close()

    play(story)


@contextlib.asynccontextmanager
async def damaging_relay(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    damage = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(change(data))
                await writer.drain()

    def spoil(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if damage.is_set() else data

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, onward[1]))
        tasks.append(asyncio.ensure_future(pump(reader, onward[1], lambda data: data)))
        tasks.append(asyncio.ensure_future(pump(onward[0], writer, spoil)))

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], damage
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await server.wait_closed()


# --- settings ----------------------------------------------------------------------------------


def test_somebody_must_be_authenticated() -> None:
    with pytest.raises(TlsError, match="neither a CA file nor a pinned key"):
        tls_client(TlsSettings(), "h")


def test_tls_below_1_2_is_never_spoken(papers: Authority) -> None:
    client = tls_client(TlsSettings(ca_file=str(papers.ca.certificate)), "h")
    assert client.context.minimum_version == ssl.TLSVersion.TLSv1_2
    strict = tls_client(TlsSettings(ca_file=str(papers.ca.certificate), minimum="1.3"), "h")
    assert strict.context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_ca_or_pin_says_who_is_checked(papers: Authority) -> None:
    by_ca = tls_client(TlsSettings(ca_file="system", server_name="acquirer.example"), "10.0.0.1")
    assert by_ca.context.verify_mode == ssl.CERT_REQUIRED
    assert by_ca.context.check_hostname
    assert by_ca.server_name == "acquirer.example"
    by_pin = tls_client(TlsSettings(pins=(base64.b64encode(pin_of(papers.host)).decode(),)), "10.0.0.1")
    assert by_pin.pins == {pin_of(papers.host)}
    assert by_pin.server_name == "10.0.0.1"


@pytest.mark.parametrize("pin", ["", "00", "zz" * 32, "00" * 31, "not base64!", "AAAA"])
def test_a_pin_that_is_no_hash_is_refused(pin: str) -> None:
    with pytest.raises(TlsError, match="no SHA-256"):
        tls_client(TlsSettings(pins=(pin,)), "h")


def test_wrong_files_are_named(papers: Authority, tmp_path: Path) -> None:
    missing, ca = str(tmp_path / "missing.pem"), str(papers.ca.certificate)
    with pytest.raises(TlsError, match=r"missing\.pem"):
        tls_client(TlsSettings(ca_file=missing), "h")
    with pytest.raises(TlsError, match=r"missing\.pem"):
        tls_client(TlsSettings(ca_file=ca, client_certificate=missing), "h")
    with pytest.raises(TlsError, match="without a client certificate"):
        tls_client(TlsSettings(ca_file=ca, client_key=missing), "h")
    foreign_key = TlsSettings(ca, (), str(papers.client.certificate), str(papers.host.key))
    with pytest.raises(TlsError, match=r"client\.pem"):
        tls_client(foreign_key, "h")


def test_an_encrypted_key_is_an_error_and_asks_nobody(papers: Authority, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    form, how = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(papers.client.private.private_bytes(serialization.Encoding.PEM, form, how))
    settings = TlsSettings("system", (), str(papers.client.certificate), str(locked))
    with pytest.raises(TlsError, match="client certificate"):
        tls_client(settings, "h")


def test_an_impossible_server_name_is_refused(papers: Authority) -> None:
    with pytest.raises(TlsError, match="no possible server name"):
        tls_client(TlsSettings(ca_file="system", server_name=".example"), "h")


# --- reading a certificate ---------------------------------------------------------------------


def test_key_and_dates_agree_with_an_independent_reader(papers: Authority, tmp_path: Path) -> None:
    far = issue(tmp_path, "far", end=datetime(2051, 2, 3, 4, 5, 6, tzinfo=UTC))  # beyond UTCTime
    for identity in (papers.ca, papers.host, papers.client, far):
        assert public_key_hash(identity.der) == pin_of(identity)
        assert not_after(identity.der) == identity.x509.not_valid_after_utc


@pytest.mark.parametrize(
    ("before_end", "days"),
    [
        (timedelta(days=30), 30),
        (timedelta(days=30, seconds=-1), 29),
        (timedelta(0), 0),
        (timedelta(seconds=-1), -1),
        (timedelta(days=-2), -2),
    ],
)
def test_days_to_expiry_are_whole_days_left(papers: Authority, before_end: timedelta, days: int) -> None:
    assert certificate_days(link(certificate_not_after=not_after(papers.host.der)), END - before_end) == days


def test_no_truncated_certificate_is_read_or_crashes(papers: Authority) -> None:
    der = papers.host.der
    for length in range(len(der)):
        with pytest.raises(TlsError):
            not_after(der[:length])


def test_a_pin_is_no_secret_but_a_wrong_one_says_what_was_seen(papers: Authority) -> None:
    client = tls_client(TlsSettings(pins=(pin_of(papers.ca).hex(),)), "h")
    client.check_pin(papers.ca.der)
    with pytest.raises(TlsError, match=pin_of(papers.host).hex()):
        client.check_pin(papers.host.der)
