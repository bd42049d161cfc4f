"""Issue certificates for tests from a private certificate authority."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Identity:
    """The files of a certificate and its private key."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """Issues certificates that are signed by `certificate`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.certificate = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(str(self.certificate))

    def server(self, host: str) -> Identity:
        """Issue a certificate for a server's host name."""
        return self._written(host, self._ca.issue_cert(host))

    def client(self, name: str) -> Identity:
        """Issue a certificate whose common name is a user's name."""
        return self._written(name, self._ca.issue_cert(f"{name}@example.org", common_name=name))

    def _written(self, name: str, issued: trustme.LeafCert) -> Identity:
        identity = Identity(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(str(identity.certificate))
        issued.private_key_pem.write_to_path(str(identity.key))
        identity.key.chmod(0o600)
        return identity
