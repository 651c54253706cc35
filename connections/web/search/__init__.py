"""Search everywhere: connections, orgs, deletions, changes, people and pages."""
