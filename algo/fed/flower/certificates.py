"""Certificates and keys of one's own federation: an authority, the server's certificate, and a key for each client.

TLS proves the server to the clients; the keys prove the clients to the server. The authority's key signs nothing after
that, and can be removed.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from algo.fed.flower.processes import FlowerError, Secrets
from algo.support.user_files import reading

_CA, _CA_KEY, _SERVER, _SERVER_KEY = "ca.crt", "ca.key", "server.crt", "server.key"
#: Names by which the server's own processes reach it.
_OWN = ("localhost", "127.0.0.1")


def make(folder: Path, hosts: Sequence[str], clients: int, days: int) -> list[Path]:
    """Write an authority, the server's certificate and key, and a pair of keys for each client.

    Args:
        folder: must hold none of them yet.
        hosts: names and addresses by which clients reach the server.
        clients: how many.
        days: that the certificates hold.

    Returns:
        The files.

    Raises:
        FlowerError: if one of the files is there already, or for a host that is none.
    """
    names = [_CA, _CA_KEY, _SERVER, _SERVER_KEY]
    names += [name for client in range(clients) for name in (f"client-{client}.key", f"client-{client}.pub")]
    if there := [name for name in names if (folder / name).exists()]:
        raise FlowerError(f"{folder / there[0]} exists: choose another folder, or remove what is in this one")
    folder.mkdir(parents=True, exist_ok=True)
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    finish = begin + datetime.timedelta(days=days, minutes=5)
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name("rlu-cosim federation")
    ca = (
        _signed(issuer, issuer, authority, begin, finish)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    alternatives = x509.SubjectAlternativeName([_alternative(host) for host in dict.fromkeys([*hosts, *_OWN])])
    certificate = (
        _signed(_name(hosts[0] if hosts else _OWN[0]), issuer, own, begin, finish)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    _write(folder / _CA, ca.public_bytes(pem))
    _write(folder / _CA_KEY, _private(authority), secret=True)
    _write(folder / _SERVER, certificate.public_bytes(pem))
    _write(folder / _SERVER_KEY, _private(own), secret=True)
    for client in range(clients):
        key = ec.generate_private_key(ec.SECP384R1())
        private = key.private_bytes(pem, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        _write(folder / f"client-{client}.key", private, secret=True)
        _write(folder / f"client-{client}.pub", public)
    return [folder / name for name in names]


def of_server(folder: Path) -> tuple[Secrets, list[Path]]:
    """What a server needs of a folder: its secrets, and the clients' public keys.

    Raises:
        FlowerError: for a file that is missing, or a certificate that does not hold now.
    """
    _check_time(folder / _CA)
    _check_time(folder / _SERVER)
    keys = sorted(folder.glob("client-*.pub"))
    if not keys:
        raise FlowerError(f"{folder} has no client-*.pub: copy the clients' public keys there")
    key = _there(folder / _SERVER_KEY)
    with reading(key, "{} cannot be used", raises=FlowerError):
        own = serialization.load_pem_private_key(key.read_bytes(), None).public_key()
    if own != _certificate(folder / _SERVER).public_key():
        raise FlowerError(f"{key} is not the key of {folder / _SERVER}: copy both from the same folder")
    return Secrets(folder / _CA, folder / _SERVER, key), keys


def of_client(folder: Path, index: int) -> Secrets:
    """What a client needs of a folder; errors as of `of_server`."""
    _check_time(folder / _CA)
    return Secrets(folder / _CA, node_key=_there(folder / f"client-{index}.key"))


def check_host(folder: Path, host: str) -> None:
    """Raise FlowerError unless the server's certificate in a folder is for a host, if it is there."""
    if (folder / _SERVER).exists():
        known = _certificate(folder / _SERVER).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if _alternative(host) not in list(known):
            named = ", ".join(str(one.value) for one in known)
            raise FlowerError(
                f"{folder / _SERVER} is for {named}, not for {host}: make certificates with --host {host}"
            )


def check_server(secrets: Secrets, host: str, port: int) -> bool:
    """Whether a server listens there; one that does must have a certificate that holds for this host.

    Raises:
        FlowerError: if it has none, or another one.
    """
    context = ssl.create_default_context(cafile=str(secrets.ca))
    try:
        with (
            socket.create_connection((host, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except ssl.SSLCertVerificationError as error:
        raise FlowerError(
            f"the certificate of {host}:{port} does not hold: {error.verify_message}; make certificates with --host "
            f"{host}, and copy {secrets.ca.name} of the same folder to the clients"
        ) from None
    except ssl.SSLError as error:
        raise FlowerError(
            f"{host}:{port} does not speak TLS ({error.reason}): start rlu fed server with --certificates"
        ) from None
    except OSError:
        return False


def _check_time(path: Path) -> None:
    found, now = _certificate(path), datetime.datetime.now(datetime.UTC)
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        raise FlowerError(
            f"{path} holds from {found.not_valid_before_utc:%Y-%m-%d} to {found.not_valid_after_utc:%Y-%m-%d}, not "
            "today: make certificates again with rlu fed certificates"
        )


def _certificate(path: Path) -> x509.Certificate:
    with reading(_there(path), "certificate {} cannot be used", raises=FlowerError):
        return x509.load_pem_x509_certificate(path.read_bytes())


def _there(path: Path) -> Path:
    if not path.is_file():
        raise FlowerError(f"{path} is missing: make it with rlu fed certificates, and copy it here")
    return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        try:
            if not host or any(letter.isspace() for letter in host):
                raise ValueError
            return x509.DNSName(host.encode("ascii").decode())
        except ValueError:
            raise FlowerError(
                f"--host must be the name or the address of a machine, in ASCII, such as server.example, not {host!r}"
            ) from None


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begin: datetime.datetime,
    finish: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(finish)
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, secret: bool = False) -> None:
    """A new file; a secret one is for its owner alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb") as file:
        file.write(content)
