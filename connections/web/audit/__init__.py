"""Pages about the audit log and its evidence."""
