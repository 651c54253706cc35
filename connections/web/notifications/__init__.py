"""Pages about changes."""
