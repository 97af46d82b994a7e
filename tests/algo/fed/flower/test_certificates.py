"""Certificates: TLS with them works, and what does not hold is said before anything is started."""

import datetime
import socket
import ssl
import threading

import pytest

pytest.importorskip("flwr", reason="needs the packages of rlu-cosim[fed]")
pytest.importorskip("cryptography", reason="needs the packages of rlu-cosim[fed]")

from algo.fed.flower import certificates
from algo.fed.flower.certificates import check_host, check_server, make, of_client, of_server
from algo.fed.flower.processes import FlowerError, check_port, free_port
from tests.command_line import rlu


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "tls"
    make(path, ["fed.example", "10.0.0.7"], 2, 30)
    return path


@pytest.fixture
def server(folder):
    """The port of a TLS server with the folder's certificate, on this machine."""
    secrets, _ = of_server(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(secrets.certificate, secrets.key)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.settimeout(20)
        port = plain.getsockname()[1]

        def once():
            try:
                with context.wrap_socket(plain, server_side=True) as listening:
                    listening.accept()[0].close()
            except OSError:  # the client turned away
                pass

        thread = threading.Thread(target=once)
        thread.start()
        yield port
        thread.join()


def test_files_are_what_each_side_needs_and_keys_are_for_their_owner(folder):
    secrets, keys = of_server(folder)
    assert [key.name for key in keys] == ["client-0.pub", "client-1.pub"] and secrets.node_key is None
    assert of_client(folder, 1).node_key == folder / "client-1.key" and of_client(folder, 1).key is None
    for name in ("ca.key", "server.key", "client-0.key"):
        assert (folder / name).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("host", ["", "bad host", "h\u00f6st"])
def test_a_host_that_is_none_is_said(tmp_path, host):
    with pytest.raises(FlowerError, match=f"--host must be the name .*, not {host!r}"):
        make(tmp_path, [host], 1, 1)


def test_a_key_of_another_certificate_is_said(folder, tmp_path):
    make(tmp_path / "other", [], 1, 1)
    (tmp_path / "other" / "server.key").write_bytes((folder / "server.key").read_bytes())
    with pytest.raises(FlowerError, match=r"server\.key is not the key of .*server\.crt: copy both"):
        of_server(tmp_path / "other")


def test_a_client_trusts_the_server_of_its_folder(folder, server):
    assert check_server(of_client(folder, 0), "127.0.0.1", server)


def test_a_server_of_another_authority_is_refused(tmp_path, server):
    make(tmp_path, [], 1, 1)
    with pytest.raises(FlowerError, match=r"does not hold: .*; make certificates with --host 127\.0\.0\.1"):
        check_server(of_client(tmp_path, 0), "127.0.0.1", server)


def test_a_certificate_of_another_host_is_refused(folder):
    check_host(folder, "fed.example")
    check_host(folder, "10.0.0.7")
    for host in ("10.0.0.8", "other.example"):
        with pytest.raises(FlowerError, match=f"not for {host}: make certificates with --host {host}"):
            check_host(folder, host)


def test_a_server_without_tls_is_refused(folder):
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def once():
            with plain.accept()[0] as found:
                found.recv(10)
                found.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=once)
        thread.start()
        with pytest.raises(FlowerError, match="does not speak TLS"):
            check_server(of_client(folder, 0), "127.0.0.1", plain.getsockname()[1])
        thread.join()


def test_nobody_listening_is_no_error(folder):
    assert not check_server(of_client(folder, 0), "127.0.0.1", free_port())


def test_an_expired_certificate_is_refused(folder, monkeypatch):
    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + datetime.timedelta(days=31)

    monkeypatch.setattr(certificates.datetime, "datetime", Later)
    for check in (lambda: of_server(folder), lambda: of_client(folder, 0)):
        with pytest.raises(FlowerError, match=r"ca.crt holds from .* not today: make certificates again"):
            check()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("server.key", None, "server.key is missing"), ("ca.crt", b"nothing", "ca.crt cannot be used"),
     ("client-*.pub", None, "has no client-*.pub")],
)  # fmt: skip
def test_what_is_missing_or_damaged_is_said(tmp_path, name, content, said):
    make(tmp_path, [], 2, 1)
    for path in list(tmp_path.glob(name)):
        path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(FlowerError, match=said.replace("*", r"\*")):
        of_server(tmp_path)


def test_nothing_is_overwritten(folder, capsys):
    code, _, said = rlu(capsys, "fed", "certificates", folder)
    assert code == 2 and "ca.crt exists: choose another folder" in said


def test_a_port_in_use_is_said():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(FlowerError, match="in use; choose another --port"),
    ):
        check_port("127.0.0.1", taken.getsockname()[1])
    check_port("127.0.0.1", free_port())
