"""Access reviews: people decide which connections to keep, and the decisions are evidence."""
