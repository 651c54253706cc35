"""Pages about credentials."""
