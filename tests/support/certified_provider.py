"""npm's `oidc-provider`, an independent implementation that the OpenID Foundation has certified.

CERTIFIED_PROVIDER is the directory in which it is installed, or `install` to install it into a
temporary one. Without it, its tests are skipped; `./run check --all` installs it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.provider import CLIENT_ID, CLIENT_SECRET

PACKAGE = "oidc-provider@9.13.3"
_SCRIPT = Path(__file__).with_suffix(".mjs")


@dataclass(frozen=True, kw_only=True)
class CertifiedProvider:
    """It, with one account, whose person passes MFA at each sign-in."""

    issuer: str
    subject: str


def find_package(directory: Path) -> Path:
    """The directory that contains the package. Skips the test if it isn't wanted."""
    wanted = os.environ.get("CERTIFIED_PROVIDER", "")
    if not wanted:
        pytest.skip(f"NOT TESTED against {PACKAGE}: set CERTIFIED_PROVIDER=install (needs npm)")
    if wanted != "install":
        return Path(wanted)
    if shutil.which("npm") is None:
        pytest.fail(f"NOT TESTED against {PACKAGE}: npm isn't installed")
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.fail(f"NOT TESTED against {PACKAGE}: npm can't install it: {done.stderr[-500:]}")
    return directory


@contextmanager
def certified_provider(
    directory: Path, *, redirect_uri: str, issuer: str = "", port: int = 0, **claims: Any
) -> Iterator[CertifiedProvider]:
    """Run it until the end of the block. `claims` are about its one account.

    With an issuer, it is behind a proxy that serves that address.
    """
    subject = "248289761001"
    setup = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uri": redirect_uri,
        "subject": subject,
        "claims": claims,
        "port": port,
        "issuer": issuer,
    }
    with subprocess.Popen(
        ["node", str(_SCRIPT), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{json.dumps(setup)}\n")
        process.stdin.flush()
        issuer = process.stdout.readline().strip()
        assert issuer, "The provider didn't start."
        try:
            yield CertifiedProvider(issuer=issuer, subject=subject)
        finally:
            process.kill()
