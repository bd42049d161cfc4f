"""TLS of connections to PostgreSQL and RabbitMQ: certificates, and causes of failed handshakes."""

import ssl
from pathlib import Path

HANDSHAKE_ERRORS = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port",
    "KEY_VALUES_MISMATCH": "our certificate and our key do not belong together",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server requires a client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not trust our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server does not trust our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
}
NAME_MISMATCH = {62, 64}  # OpenSSL's codes: host name mismatch, IP address mismatch


def check_pem_file(path: Path) -> Path:
    """Return the path with `~` expanded; raises `ValueError` if it is not a readable PEM file."""
    path = path.expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if b"-----BEGIN " not in content:
        raise ValueError(f"{path} is not a PEM file")
    return path


def check_files(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> None:
    """Raise `ValueError` if these certificate files, where given, cannot be used together."""
    if cafile is not None or certfile is not None:
        client_context(cafile, certfile, keyfile)


def client_context(
    cafile: Path | None, certfile: Path | None, keyfile: Path | None
) -> ssl.SSLContext:
    """Return a client's TLS context that verifies certificates and host names.

    Trusts the authorities in `cafile`, by default the system's. Raises `ValueError` if a file is
    unusable.
    """
    try:
        context = ssl.create_default_context(cafile=cafile)
        if certfile is not None:
            # The empty password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(certfile, keyfile, password=lambda: "")
    except ssl.SSLError as error:
        reason = HANDSHAKE_ERRORS.get(error.reason or "", str(error))
        raise ValueError(f"the certificates cannot be used: {reason}") from None
    return context


def handshake_error(error: BaseException) -> str | None:
    """Return why a TLS handshake failed; `None` if the error has another or a temporary cause."""
    for each in (error, error.__cause__, error.__context__):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _verification_error(each)
        if isinstance(each, ssl.SSLError) and each.reason in HANDSHAKE_ERRORS:
            return HANDSHAKE_ERRORS[each.reason]
    return None


def _verification_error(error: ssl.SSLCertVerificationError) -> str:
    detail = error.verify_message.rstrip(".")
    if error.verify_code in NAME_MISMATCH:
        return f"the server's certificate is for another host name ({detail})"
    return f"the server's certificate is not trusted ({detail})"
