"""People, their roles, how they sign in, and what they have open."""
