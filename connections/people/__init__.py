"""People: accounts, roles, sign-in, sessions and erasure."""
