"""Search everywhere: connections, orgs, agreements, deletions, changes, people and pages."""
