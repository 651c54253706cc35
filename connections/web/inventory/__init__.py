"""Pages about org connections."""
