"""Credentials as commands print them; of the keys only the fingerprint."""

from typing import Any

from connections.models import Credential


def credential_document(credential: Credential) -> dict[str, Any]:
    """A credential and its key checks for `--json`."""
    return {
        "id": credential.pk,
        "name": credential.name,
        "site": credential.site,
        "org": {"id": credential.org_id, "name": credential.org_name},
        "fingerprint": credential.fingerprint,
        "policy": credential.policy,
        "verified": credential.is_verified,
        "verified_at": credential.verified_at,
        "cause": credential.verification_cause,
        "ladder": credential.verification,
    }


def credential_text(credential: Credential) -> str:
    """A credential and its key checks as text."""
    state = "verified" if credential.is_verified else "unverified"
    lines = [f"{credential.name} ({credential.site}): {state}"]
    marks = {True: "yes", False: "no ", None: "-  "}
    for check in credential.verification:
        text = check["words"] or "not checked"
        lines.append(f"  {marks[check['ok']]} {check['rung']}: {text}")
    return "\n".join(lines)
