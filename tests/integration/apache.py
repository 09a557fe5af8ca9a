"""Apache with mod_auth_openidc, an application of others at which people sign in: on loopback, in its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from tests.integration.node import free_port

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
MODULES = Path("/usr/lib/apache2/modules")
NEEDED = ("mpm_event", "authn_core", "authz_core", "authz_user", "dir", "headers", "mime", "auth_openidc")


def missing() -> str:
    """What is not here; empty: nothing."""
    absent = [name for name in NEEDED if not (MODULES / f"mod_{name}.so").exists()]
    if shutil.which("apache2", path=PATH) is None or absent:
        return "Apache with mod_auth_openidc is not here: apt-get install apache2 libapache2-mod-auth-openidc"
    return ""


class Apache:
    """Shows `/protected/` to those who have signed in, and says who they are in X-Remote-User and X-Sid."""

    def __init__(self) -> None:
        # Beside pytest's folder, into which nobody but its owner may look.
        self.folder = Path(tempfile.mkdtemp(prefix="apache-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redirect = f"{self.url}/protected/redirect"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, issuer: str, ca: str, client_id: str, client_secret: str) -> None:
        (self.folder / "www" / "protected").mkdir(parents=True)
        (self.folder / "www" / "protected" / "index.html").write_text("the protected page")
        shutil.copy(ca, self.folder / "ca.pem")
        (self.folder / "ca.pem").chmod(0o644)
        loaded = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in NEEDED)
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        config = self.folder / "apache.conf"
        config.write_text(f"""
{loaded}
{user}
ServerRoot {self.folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{self.port}
PidFile {self.folder}/pid
ErrorLog {self.folder}/error.log
LogLevel warn auth_openidc:info
DefaultRuntimeDir {self.folder}
TypesConfig /dev/null
DocumentRoot {self.folder}/www
DirectoryIndex index.html
OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCSSLValidateServer On
OIDCCABundlePath {self.folder}/ca.pem
OIDCClientID {client_id}
OIDCClientSecret {client_secret}
OIDCRedirectURI {self.redirect}
OIDCCryptoPassphrase of-a-test-and-nothing-else
OIDCScope "openid profile"
OIDCPKCEMethod S256
OIDCRemoteUserClaim preferred_username
OIDCSessionType server-cache
<Location /protected>
  AuthType openid-connect
  Require valid-user
  Header set X-Remote-User "expr=%{{REMOTE_USER}}"
  Header set X-Sid "expr=%{{reqenv:OIDC_CLAIM_sid}}"
</Location>
""")
        program = shutil.which("apache2", path=PATH)
        assert program is not None
        self.process = subprocess.Popen(
            [program, "-f", str(config), "-X" if os.geteuid() else "-DFOREGROUND"],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "start.log").open("wb"),
        )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                httpx.get(f"{self.url}/", trust_env=False)
            except httpx.TransportError:
                assert self.process.poll() is None, self.log()
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self.log())

    def log(self) -> str:
        files = [self.folder / name for name in ("start.log", "error.log")]
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in files if file.exists())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)
