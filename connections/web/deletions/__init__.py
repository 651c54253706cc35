"""Pages about deletions."""
