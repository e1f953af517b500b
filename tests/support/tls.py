"""An authority of a test's own and what it signs, made by openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


class Authority:
    """`certificate` is its own; everything it signs lies beside it."""

    def __init__(self, directory: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("needs openssl to make certificates")
        self._openssl = openssl
        self.directory = directory
        directory.mkdir()
        self.certificate = directory / "ca.crt"
        self._key = directory / "ca.key"
        self._call(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=authority of a test", "-addext", "keyUsage=critical,keyCertSign"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, name: str, *, hosts: str = "") -> tuple[Path, Path]:
        """Certificate and key of `name`; `hosts` like `IP:127.0.0.1,DNS:localhost`."""
        key, request, certificate = (self.directory / f"{name}.{kind}" for kind in ("key", "csr", "cert"))
        self._call(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", key, "-out", request),
        )
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={hosts}\n" if hosts else "extendedKeyUsage=clientAuth\n")
        self._call(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2"),
            *("-extfile", extensions, "-out", certificate),
        )
        return certificate, key

    def server(self, hosts: str, *, clients: bool | None = False) -> ssl.SSLContext:
        """What a server with these names speaks; `clients`: it wants a certificate from them, or with None takes one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue("server", hosts=hosts))
        if clients is not False:
            context.load_verify_locations(self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED if clients else ssl.CERT_OPTIONAL
        return context

    def _call(self, *words: object) -> None:
        done = subprocess.run([self._openssl, *map(str, words)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
