"""Pages of access reviews."""
