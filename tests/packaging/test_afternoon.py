"""The commands of docs/DEPLOYMENT.md, as they are, on a machine with systemd and real parts.

Only the packages of Python are linked instead of downloaded. Datadog is the simulator, the identity
provider npm's certified one. The upgrade is that of the newest stored release's database.
"""

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from django.http import HttpResponse

from sandbox.certificates import Certificate, make_certificate
from sandbox.server import SandboxServer
from tests.flows.support import Page, read
from tests.notifications.smtp import MailServer
from tests.releases.stored import KEYS, stored_releases
from tests.support.certified_provider import certified_provider, find_package
from tests.support.machine import Machine, booted, can_boot
from tests.support.processes import ROOT, until
from tests.support.provider import CLIENT_SECRET
from tests.support.sandbox import connection_between, make_world
from tests.support.sweeps import TAKES_ALL

PROGRAMS = ("git", "curl", "nginx", "pgbouncer", "pg_createcluster", "node", "npm")
pytestmark = [
    pytest.mark.sweep,
    pytest.mark.slow,
    pytest.mark.skipif(
        not TAKES_ALL or not can_boot() or not all(map(shutil.which, PROGRAMS)),
        reason=f"only ./run check --all, as root, with systemd, {', '.join(PROGRAMS)}",
    ),
]
DOCUMENT = ROOT / "docs/DEPLOYMENT.md"
NAMES = ("orgadmin.example.org", "sso.example.org", "smtp.example.org", "git.example.org")
ADDRESS = f"https://{NAMES[0]}"
ADA = {"email": "ada@example.org", "name": "Ada", "preferred_username": "ada"}
# A new cluster of PostgreSQL, nginx without a site, no newer packages of Debian, and the document's
# repository, whose tags are this checkout. A clone has the installed packages of Python.
PREPARED = """
pg_lsclusters --no-header | while read -r version name _; do pg_dropcluster $version $name; done
version=$(ls /usr/lib/postgresql | sort --version-sort | tail -1)
pg_createcluster "$version" main --pgoption fsync=off -- --no-sync
systemctl daemon-reload
systemctl start postgresql
rm -rf /etc/nginx/sites-enabled/* /etc/nginx/conf.d/* /var/lib/apt/lists/*
mkdir -p /srv/orgadmin /srv/template/hooks
cd {root}
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory=/srv/orgadmin
cd /srv/orgadmin
git init --quiet
git add .
git -c user.name=A -c user.email=a@example.org commit --quiet --message=Release
git tag v1.0.0
git tag v1.1.0
git config --system init.templateDir /srv/template
git config --system url./srv/orgadmin.insteadOf https://git.example.org/orgadmin.git
cat >/srv/template/hooks/post-checkout <<'SH'
#!/bin/sh
mkdir .venv
ln -s {prefix}/bin {prefix}/lib {prefix}/pyvenv.cfg .venv
for file in requirements*.txt; do cksum <$file >.venv/installed-$file; done
SH
chmod +x /srv/template/hooks/post-checkout
"""
SETTINGS = """
cat >>/etc/orgadmin/environment <<'ENV'
ORGADMIN_EXTRA_SITES={sites}
ORGADMIN_EXTRA_CA_FILE=/etc/ssl/certs/orgadmin.crt
ENV
install -m 0644 orgadmin.crt /etc/ssl/certs/orgadmin.crt
cat >/etc/nginx/conf.d/sso.conf <<'NGINX'
server {{
    listen 443 ssl;
    server_name sso.example.org;
    ssl_certificate /etc/ssl/certs/orgadmin.crt;
    ssl_certificate_key /root/orgadmin.key;
    location / {{
        proxy_pass http://127.0.0.1:3000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto https;
    }}
}}
NGINX
"""
# The database and the keys of a stored release, as its service left them when it was stopped.
STORED = """
systemctl stop 'orgadmin-*' pgbouncer
runuser -u postgres -- dropdb orgadmin
runuser -u postgres -- createdb --owner=orgadmin_owner orgadmin
url=$(cat /etc/orgadmin/owner_url)
zcat {folder}/postgresql.sql.gz | psql --quiet --set=ON_ERROR_STOP=1 --output=/dev/null "$url"
for name in {keys}; do
    install -m 0600 -o orgadmin {folder}/$name /etc/orgadmin/keys/$name
done
systemctl start pgbouncer
"""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A numbered step of the document, with its commands."""

    title: str
    commands: str


def steps() -> list[Step]:
    """The steps in their order."""
    _, *parts = re.split(r"^###? ", DOCUMENT.read_text(), flags=re.MULTILINE)
    return [
        Step(
            title=part.partition("\n")[0],
            commands="\n".join(re.findall(r"```sh\n(.*?)```", part, re.DOTALL)),
        )
        for part in parts
        if part[0].isdecimal()
    ]


class Afternoon:
    """Runs the steps in their order, and what happens between them."""

    def __init__(self, machine: Machine, *, datadog: SandboxServer, mail: MailServer) -> None:
        self._machine, self._datadog, self._mail = machine, datadog, mail
        self.seconds: dict[str, float] = {}
        self._session = requests.Session()
        self._session.trust_env = False

    def follow(self, certificate: Certificate) -> None:
        """Run all steps."""
        self._session.verify = str(certificate.bundle)
        self._prepare(certificate)
        before: dict[str, Callable[[], None]] = {
            "4": self._settings,
            "7": self._sign_in,
            "10": self._store,
        }
        after: dict[str, Callable[[], None]] = {"7": self._delete, "10": self._verify}
        for step in steps():
            number = step.title.partition(".")[0]
            before.get(number, bool)()
            began = time.monotonic()
            self._run(step.commands)
            self.seconds[step.title] = time.monotonic() - began
            after.get(number, bool)()

    def _run(self, script: str) -> str:
        done = self._machine.run(script, env={"CURL_CA_BUNDLE": "/root/orgadmin.crt"})
        if done.returncode:
            journal = self._machine.run("journalctl --no-pager --lines=40 --unit='orgadmin-*'")
            pytest.fail(f"{script}\n{done.stdout[-6000:]}\n{journal.stdout}")
        return done.stdout

    def _write(self, name: str, text: str) -> None:
        self._run(f"cat >{name} <<'END'\n{text}\nEND")

    def _prepare(self, certificate: Certificate) -> None:
        self._run(PREPARED.format(root=ROOT, prefix=sys.prefix))
        pairs = self._datadog.world.key_pairs()
        lines = [
            f"{one.org.name},{one.org.site.name},{one.api_key},{one.application_key}"
            for one in pairs
        ]
        self._write("keys.csv", "\n".join(["name,site,api_key,application_key", *lines]))
        self._write("oidc_secret", CLIENT_SECRET)
        self._write("orgadmin.crt", certificate.bundle.read_text())
        self._write("orgadmin.key", certificate.key.read_text())

    def _settings(self) -> None:
        self._run(SETTINGS.format(sites=self._datadog.extra_sites_setting()))

    def _open(self, path: str) -> Page:
        return _page(self._session.get(f"{ADDRESS}{path}", timeout=60))

    def _sign_in(self) -> None:
        assert "Ada" in self._open("/sign-in/provider/").text

    def _delete(self) -> None:
        """Ada deletes a connection in her browser, and gets an email."""
        connection = connection_between(self._datadog.world, "Payments US", "Group SOC")
        for _ in until(60, every=1):
            links = [href for href, _ in self._open("/connections/").links]
            found = [href for href in links if f"connection_id={connection.id}" in href]
            if found:
                break
        form = self._open(found[0]).form_to("/deletions/new/")
        typed = {"reason": "No longer used", "confirmation": form.attributes["data-confirm"]}
        response = self._session.post(
            f"{ADDRESS}{form.action}",
            data=form.fields | typed,
            headers={"Referer": f"{ADDRESS}/"},
            timeout=60,
        )
        assert _page(response).outcome["data-outcome"] == "deleted"
        assert connection not in self._datadog.world.connections()
        assert any(self._mail.messages for _ in until(60))
        assert self._mail.recipients[0] == ADA["email"]

    def _store(self) -> None:
        for release in stored_releases()[-1:]:
            self._run(STORED.format(folder=release.folder, keys=" ".join(KEYS)))

    def _verify(self) -> None:
        for release in stored_releases()[-1:]:
            self._run(f"orgadmin verify_audit --checkpoint {release.checkpoint}")
        self._run("orgadmin doctor; systemctl is-active orgadmin-web@8001 orgadmin-worker@2")
        assert self._run("readlink /opt/orgadmin") == "/opt/orgadmin-1.1.0\n"


def _page(response: requests.Response) -> Page:
    return read(HttpResponse(response.content, status=response.status_code))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of this test are addresses of the machine."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host in NAMES else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.usefixtures("names")
def test_the_documented_commands_lead_to_production(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
):
    """And it prints how long each step took (without other processes: `-n 0`)."""
    monkeypatch.setenv("CERTIFIED_PROVIDER", os.environ.get("CERTIFIED_PROVIDER", "install"))
    package = find_package(tmp_path)
    certificate = make_certificate(tmp_path, *NAMES)
    with ExitStack() as together:
        machine = together.enter_context(booted(hosts=" ".join(NAMES)))
        together.enter_context(machine.network())
        datadog = together.enter_context(SandboxServer(make_world()))
        mail = together.enter_context(MailServer(starttls=certificate.server, port=587))
        together.enter_context(
            certified_provider(
                package,
                redirect_uri=f"{ADDRESS}/sign-in/provider/answer/",
                issuer=f"https://{NAMES[1]}",
                port=3000,
                groups=["orgadmin-admins"],
                **ADA,
            )
        )
        afternoon = Afternoon(machine, datadog=datadog, mail=mail)
        afternoon.follow(certificate)
    writer = request.config.get_terminal_writer()
    with capsys.disabled():
        for title, seconds in afternoon.seconds.items():
            writer.line(f"{seconds:6.1f} s  {title}")
