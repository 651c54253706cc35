"""Pages about people, signing in and accounts."""
