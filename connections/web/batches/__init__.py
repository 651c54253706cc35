"""Pages of bulk deletions."""
