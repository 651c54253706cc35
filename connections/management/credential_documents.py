"""A credential as commands print it: never with more of a key than its fingerprint."""

from typing import Any

from connections.models import Credential


def credential_document(credential: Credential) -> dict[str, Any]:
    """One credential and its ladder for `--json`."""
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
    """One credential and its ladder for a person."""
    state = "verified" if credential.is_verified else "not verified"
    lines = [f"{credential.name} ({credential.site}): {state}"]
    signs = {True: "yes", False: "no ", None: "-  "}
    for rung in credential.verification:
        words = rung["words"] or "not asked"
        lines.append(f"  {signs[rung['ok']]} {rung['rung']}: {words}")
    return "\n".join(lines)
