"""Runs the vulnerability scanner wapiti against the demo, served as in production over HTTPS.

    python3 -m venv /tmp/wapiti && /tmp/wapiti/bin/pip install wapiti3
    .venv/bin/python -m tests.web.hardening.scan /tmp/wapiti/bin/wapiti administrator

Signed in as the named person of the demo. Prints what it found and how much it visited. The exit
code is 1 if it found anything. No test runs it, because it takes some minutes.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from sandbox.certificates import Certificate, make_certificate
from tests.support.processes import Running, clean_environment, free_port

MODULES = "csp,http_headers,cookieflags,xss,sql,exec,file,redirect"
# URLs that would end the scanner's session or remove its permissions.
EXCLUDED = (
    "accounts/logout/*",
    "accounts/password/*",
    "sessions/end/*",
    "people/*/disable/*",
    "people/*/roles/*",
    "people/*/sessions/*",
    "people/*/link/*",
    "people/*/provider/*",
)


@contextmanager
def served(folder: Path, certificate: Certificate) -> Iterator[tuple[str, str]]:
    """The address of the running demo, and the password of its people."""
    env = clean_environment(data_dir=folder / "none", PORT=str(free_port()), TMPDIR=str(folder))
    with Running([sys.executable, "-m", "orgadmin.demo"], env=env) as demo:
        demo.wait_for_line("Press Ctrl-C to stop")
        [data_dir] = folder.glob("orgadmin-demo-*")
        port = free_port()
        strict = clean_environment(
            data_dir=data_dir,
            ALLOWED_HOSTS="127.0.0.1,orgadmin.example.com",
            ORGADMIN_EXTRA_SITES=_extra_sites(demo),
            ORGADMIN_REQUIRE_MFA="false",
        )
        command = [sys.executable, "-m", "tests.web.hardening.https_server", str(port)]
        command += [str(certificate.bundle), str(certificate.key)]
        with Running(command, env=strict) as server:
            server.wait_for_line("Listening")
            password = demo.wait_for_line("with the password").split()[-2]
            yield f"https://127.0.0.1:{port}", password


def _extra_sites(demo: Running) -> str:
    """The simulated sites, which the demo passes to its web server and doesn't print."""
    name = b"ORGADMIN_EXTRA_SITES="
    variables = [
        variable
        for child in demo.children()
        for variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    ]
    return next(
        variable.removeprefix(name) for variable in variables if variable.startswith(name)
    ).decode()


def signed_in(address: str, *, username: str, password: str, trust: Path) -> str:
    """The cookies of a person who has just signed in, as one header."""
    session = requests.Session()
    session.trust_env = False  # or a bundle named there would be trusted instead
    session.verify = str(trust)
    page = f"{address}/accounts/login/"
    session.get(page, timeout=30)
    form = {"login": username, "password": password}
    [token] = [cookie.value for cookie in session.cookies if cookie.name.endswith("csrftoken")]
    response = session.post(
        page, form | {"csrfmiddlewaretoken": token}, headers={"Referer": page}, timeout=30
    )
    assert response.ok, f"signing in answered {response.status_code}"
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)


def scan(wapiti: str, address: str, *, cookies: str, report: Path) -> dict[str, object]:
    """The scanner's report."""
    command = [wapiti, "--url", f"{address}/", "--scope", "folder", "--module", MODULES]
    command += ["--cookie-value", cookies, "--no-bugreport", "--format", "json"]
    command += ["--max-links-per-page", "60", "--max-files-per-dir", "40", "--depth", "4"]
    command += ["--max-scan-time", "300", "--max-attack-time", "90", "--output", str(report)]
    for each in EXCLUDED:
        command += ["--exclude", f"{address}/{each}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, object] = json.loads(report.read_text())
    return found


def main(wapiti: str, username: str) -> int:
    """Scan, print the findings, and return the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        certificate = make_certificate(folder)
        with served(folder, certificate) as (address, password):
            cookies = signed_in(
                address, username=username, password=password, trust=certificate.bundle
            )
            report = scan(wapiti, address, cookies=cookies, report=folder / "report.json")
    findings = [
        f"{kind}: {each['method']} {each['path']} {each['info']}"
        for part in ("vulnerabilities", "anomalies", "additionals")
        for kind, found in report[part].items()  # type: ignore[attr-defined]
        for each in found
    ]
    pages = report["infos"]["crawled_pages_nbr"]  # type: ignore[index]
    print(*findings, f"{username}: {pages} pages and forms, {len(findings)} findings", sep="\n")  # noqa: T201
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
