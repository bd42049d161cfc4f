"""Check when certificates expire."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from restaurant_system.app.doctor.findings import Finding, error, ok, warning
from restaurant_system.models.clock import Clock

SOON = timedelta(days=30)


def check_server_certificate(der: bytes | None, clock: Clock) -> Finding:
    """Check the certificate that a server presents."""
    if der is None:
        return ok("the connection is not encrypted, so there is no certificate")
    return _check(x509.load_der_x509_certificate(der), "the server's certificate", clock)


def check_file(path: Path, clock: Clock) -> Iterator[Finding]:
    """Check each certificate in a PEM file."""
    for certificate in x509.load_pem_x509_certificates(path.read_bytes()):
        subject = certificate.subject.rfc4514_string() or "a certificate"
        yield _check(certificate, f"{subject} in {path}", clock)


def _check(certificate: x509.Certificate, name: str, clock: Clock) -> Finding:
    expiry = certificate.not_valid_after_utc
    remaining = expiry - clock()
    day = f"{expiry:%Y-%m-%d}"
    if remaining <= timedelta(0):
        return error(f"{name} expired on {day}", "replace it by a new one")
    if remaining < SOON:
        return warning(
            f"{name} expires on {day}, in {remaining.days} days", "replace it before that day"
        )
    return ok(f"{name} is valid until {day}")
