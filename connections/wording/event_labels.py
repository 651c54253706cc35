"""The labels of audit event codes in lists of choices."""

# Where pages use other words than the code.
_SUBJECTS = {
    "batch": "Bulk deletion",
    "org_connection": "Connection",
    "provider_account": "SSO account",
    "sign_in_link": "Sign-in link",
}
_ACTS = {
    "batch.cancelled": "canceled",
    "credential.access_changed": "access list changed",
    "credential.policy_changed": "approval policy changed",
    "deletion.answered": "response received",
    "deletion.answered_late": "late response",
    "deletion.approvals_lapsed": "approvals expired",
    "deletion.contradicted": "Datadog still lists it",
    "deletion.recheck_failed": "pre-send check failed",
    "deletion.settled": "closed",
    "deletion.still_present": "no effect",
    "deletion.still_unknown": "still unknown after 1 hour",
    "deletion.unknown": "outcome unknown",
    "deletion.waiting": "waiting to retry",
    "encryption_key.dropped": "removed",
    "org_connection.protection_lifted": "protection removed",
    "person.break_glass_forbidden": "break glass revoked",
    "person.change_emails_set": "emails about changes turned on or off",
    "person.changed": "roles changed",
    "person.email_changed": "email address changed",
    "person.password_reset_mailed": "password reset link emailed",
    "person.provider_sign_in_refused": "SSO sign-in refused",
    "person.reauthenticated": "identity check passed",
    "person.reauthentication_failed": "identity check failed",
    "person.second_factor_added": "MFA method added",
    "person.second_factor_refused": "MFA failed",
    "person.second_factor_removed": "MFA removed by a sign-in link",
    "person.second_factor_turned_off": "MFA method removed",
    "person.sign_in_failed": "sign-in failed",
    "sign_in_link.made": "created",
}


def event_label(code: str) -> str:
    """ "Person: signed in" for a code, and "Person: all" for the prefix "person."."""
    noun, _, act = code.partition(".")
    subject = _SUBJECTS.get(noun) or noun.replace("_", " ").capitalize()
    return f"{subject}: {_ACTS.get(code) or act.replace('_', ' ') or 'all'}"
