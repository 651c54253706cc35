"""The URLs that could show what access lists hide from a person.

tests/access/test_visibility.py visits them all. tests/web/test_access.py fails if a new URL is
missing from these tables.
"""

# URLs of one object. Each must respond to a hidden object as to one that doesn't exist.
OF_ONE = {
    "credential-detail": ("GET",),
    "credential-verify": ("POST",),
    "credential-rename": ("POST",),
    "credential-rotate": ("GET", "POST"),
    "credential-retire": ("GET", "POST"),
    "org-connection-detail": ("GET",),
    "org-connection-unprotect": ("GET", "POST"),
    "deletion-detail": ("GET",),
    "deletion-execute": ("POST",),
    "deletion-approve": ("POST",),
    "deletion-decline": ("POST",),
    "deletion-break-glass": ("POST",),
    "deletion-review-glass": ("POST",),
    "deletion-withdraw": ("POST",),
    "deletion-reconcile": ("POST",),
    "deletion-close": ("POST",),
    "deletion-comment": ("POST",),
}
# Lists. None may name a hidden object, with any of these query strings.
OF_MANY: dict[str, tuple[str, ...]] = {
    "overview": ("",),
    "credential-list": ("",),
    "org-connection-list": ("", "?q={word}", "?org={word}", "?site={site}", "?protected=yes"),
    "org-connection-export": ("?format=csv", "?format=json"),
    "deletion-list": ("", "?q={word}", "?org={word}", "?credential={credential}", "?site={site}"),
    "deletion-export": ("?format=csv", "?format=json", "?format=ndjson", "?org={word}"),
    "deletion-new": (
        "",
        "?connection_id={connection}",
        "?credential={own}&connection_id={connection}",
    ),
}
# URLs that show nothing of a credential, or are only for people who see everything.
FREE = {
    "bundle-new",
    "credential-access",
    "credential-policy",
    "setup",
    "sign-in-link",
    "appearance-set",
    "credential-new",
    "org-connection-refresh",
    "org-connection-protect",
    "session-list",
    "session-end",
    "provider-start",
    "provider-reauthentication",
    "provider-connect-start",
    "provider-callback",
    "provider-account",
    "person-provider",
    "person-email",
    "person-sessions",
    "notice-list",
    "notice-test",
    "notice-retry",
    "person-list",
    "person-new",
    "person-detail",
    "person-roles",
    "person-break-glass",
    "person-disable",
    "person-enable",
    "person-link",
    "audit-list",
    "audit-detail",
    "audit-export",
    "evidence-detail",
    "evidence-verify",
    "checkpoint-download",
    "reauthentication",
    "reauthentication-passkey",
    "metrics",
}
