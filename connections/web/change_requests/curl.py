"""A request to Datadog as a curl command, with variables in place of the keys."""

import shlex

from connections.core.sites import site_or_none
from connections.models import Credential

_COLLECTION = "/api/v2/org_connections"


def as_curl(
    credential: Credential, *, method: str, connection_id: str = "", body: bytes = b""
) -> str:
    """The command that sends this request about org connections."""
    site = site_or_none(credential.site)
    base_url = site.base_url if site else f"https://{credential.site}"
    member = f"/{connection_id}" if connection_id else ""
    keys = ['-H "DD-API-KEY: $DD_API_KEY"', '-H "DD-APPLICATION-KEY: $DD_APPLICATION_KEY"']
    if credential.has_access_token:
        keys = ['-H "Authorization: Bearer $DD_ACCESS_TOKEN"']
    content = ["-H 'Content-Type: application/json'", f"-d {shlex.quote(body.decode())}"]
    return " \\\n  ".join(
        (
            f"curl -X {method} '{base_url}{_COLLECTION}{member}'",
            "-H 'Accept: application/json'",
            *keys,
            *(content if body else ()),
        )
    )
