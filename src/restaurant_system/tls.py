"""Certificates: whom to trust, what to show, and what is wrong when a line is not to be trusted."""

import ssl
from pathlib import Path

FAULTS = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port",
    "KEY_VALUES_MISMATCH": "our certificate and our key do not belong together",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants to see a certificate of ours",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not trust our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server does not trust our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
}
OTHER_NAME = {62, 64}  # OpenSSL's codes for another host name, another IP address


def readable(path: Path) -> Path:
    """Return the path of a PEM file; raises `ValueError` when it cannot be one."""
    path = path.expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if b"-----BEGIN " not in content:
        raise ValueError(f"{path} is no PEM file")
    return path


def must_fit(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> None:
    """Raise `ValueError` unless these files, as far as there are any, can be used together."""
    if cafile is not None or certfile is not None:
        context(cafile, certfile, keyfile)


def context(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    """Return a client's context, which trusts `cafile` (else the system's) and checks host names.

    Raises `ValueError` when the files are not what they should be.
    """
    try:
        made = ssl.create_default_context(cafile=cafile)
        if certfile is not None:
            made.load_cert_chain(certfile, keyfile, password=lambda: "")  # rather than ask for one
    except ssl.SSLError as error:
        reason = FAULTS.get(error.reason or "", str(error))
        raise ValueError(f"the certificates cannot be used: {reason}") from None
    return made


def fault(error: BaseException) -> str | None:
    """Say what a line broke of, if it is something about TLS that waiting does not mend."""
    for each in (error, error.__cause__, error.__context__):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _distrust(each)
        if isinstance(each, ssl.SSLError) and each.reason in FAULTS:
            return FAULTS[each.reason]
    return None


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    detail = error.verify_message.rstrip(".")
    if error.verify_code in OTHER_NAME:
        return f"the server's certificate is for another host name ({detail})"
    return f"the server's certificate is not trusted ({detail})"
