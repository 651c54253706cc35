"""What the pages of deletions and access requests share."""
