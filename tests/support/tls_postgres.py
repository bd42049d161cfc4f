"""Run Debian's PostgreSQL with TLS; the one in our wheel is built without."""

import os
from pathlib import Path

from restaurant_system.database import data_directory, postgres_programs
from tests.support.certificates import CertificateAuthority
from tests.support.postgres_server import Postgres
from tests.support.prerequisites import postgres_programs as installed_programs

CERTIFIED = "certified"  # the user that needs a client certificate

SETTINGS = """
ssl = on
ssl_cert_file = '{identity.certificate}'
ssl_key_file = '{identity.key}'
ssl_ca_file = '{authority.certificate}'
"""

TLS_ONLY = f"""
hostssl all {CERTIFIED} all cert
hostssl all all all trust
"""


class TlsPostgres(Postgres):
    """Has a certificate for localhost, and accepts TLS connections only."""

    copied = ""  # the default; before PostgreSQL 15 there is no choice

    def dsn(self, database: str) -> str:
        """Return the URL of a database, with verification of the certificate."""
        certificate = self.authority.certificate
        return (
            f"postgresql://postgres@localhost:{self.port}/{database}"
            f"?sslmode=verify-full&sslrootcert={certificate}"
        )

    def _initialise(self) -> None:
        data_directory.make_private_directory(self._pgdata)
        self._run("initdb", f"--pgdata={self._pgdata}", "--username=postgres", "--locale=C.UTF-8")
        owner = self._pgdata.stat()
        self.authority = CertificateAuthority(self._folder)
        identity = self.authority.server("localhost")
        os.chown(identity.key, owner.st_uid, owner.st_gid)
        with (self._pgdata / "postgresql.conf").open("a") as file:
            file.write(SETTINGS.format(identity=identity, authority=self.authority))
        (self._pgdata / "pg_hba.conf").write_text(TLS_ONLY)

    def _run(self, program: str, *arguments: str) -> None:
        postgres_programs.run(self._folder, _programs() / program, *arguments)


def _programs() -> Path:
    programs = installed_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed; run `make test`, which installs it")
    return programs
