"""Changes that would falsify a stored result, column by column."""

# Of a settled deletion: column and assignment.
DELETION = {
    "state": "state = 'unknown', outcome = '', settled_at = NULL",
    "outcome": "outcome = 'unresolved'",
    "cause": "cause = 'listings_agree'",
    "time of settling": "settled_at = '2026-01-01 00:00:00+00:00'",
    "time of settling by a second": "settled_at = {second_later}",
    "reason for settling": "settled_reason = 'never mind'",
    "time of confirming": "confirmed_at = '2026-01-01 00:00:00+00:00'",
    "time of approval": "approved_at = '2026-01-01 00:00:00+00:00'",
    "time of sending": "sending_at = '2026-01-01 00:00:00+00:00'",
    "name of the credential": "credential_name = 'Another'",
    "fingerprint of the credential": "credential_fingerprint = 'ffffffffffff'",
    "who settled it": "settled_by_name = 'Eve'",
    "who confirmed it": "confirmed_by_name = 'Eve'",
    "who requested it": "requested_by_name = 'Eve'",
    "a contradiction": "contradicted_at = '2026-01-01 00:00:00+00:00'",
}
# The database lets a sync set this once, so only the comparison detects it.
SET_ONCE = {"a contradiction"}

# Of an attempt whose response is recorded.
ATTEMPT = {
    "status": "http_status = 418",
    "verdict": "verdict = 'not_sent'",
    "errors": """errors = '["made up"]'""",
    "body": "body = {a_blob}",
    "SHA-256 of the body": "body_sha256 = '{zeros}'",
    "headers": """headers = '{{"date": "never"}}'""",
    "cause": "cause = 'timeout'",
    "whether it was late": "is_late = {true}",
    "time of the response": "answered_at = '2026-01-01 00:00:00+00:00'",
    "duration": "duration_ms = 77777",
    "time of the claim": "claimed_at = '2026-01-01 00:00:00+00:00'",
    "epoch": "epoch = 9",
    "number": "number = 9",
    "credential": "credential_name = 'Another'",
}


def sql_for(change: str, *, vendor: str) -> str:
    """The change in the SQL of this database."""
    is_postgresql = vendor == "postgresql"
    return change.format(
        second_later="settled_at + interval '1 second'"
        if is_postgresql
        else "strftime('%Y-%m-%d %H:%M:%f', settled_at, '+1 second')",
        a_blob="'\\x6f6b'" if is_postgresql else "X'6f6b'",
        true="TRUE" if is_postgresql else "1",
        zeros="0" * 64,
    )
