"""Access reviews: people decide which connections to keep, and their decisions are evidence."""
