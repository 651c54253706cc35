"""Which addresses could show what is out of a person's reach.

tests/access/test_visibility.py visits them all.

A new address stands in one of these tables, or tests/web/test_access.py fails.
"""

# Addresses of one object. Each must answer what is out of reach as it answers what is not there.
OF_ONE = {
    "credential-detail": ("GET",),
    "credential-verify": ("POST",),
    "credential-rename": ("POST",),
    "credential-rotate": ("GET", "POST"),
    "credential-retire": ("GET", "POST"),
    "org-connection-detail": ("GET",),
    "org-connection-lift": ("GET", "POST"),
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
# Pages of many: none may name what is out of reach, with any of these in the address.
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
# What holds nothing of a credential, or is for those who see all.
FREE = {
    "bundle-new",
    "credential-access",
    "credential-policy",
    "setup",
    "sign-in-link",
    "theme-set",
    "credential-new",
    "org-connection-refresh",
    "org-connection-protect",
    "session-list",
    "session-end",
    "provider-start",
    "provider-step-up",
    "provider-connect-start",
    "provider-answer",
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
    "step-up",
    "step-up-passkey",
    "metrics",
}
