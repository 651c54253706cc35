"""A request to change a connection at Datadog: states, sending, approvals, verification."""
