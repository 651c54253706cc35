"""Everything that handles a request."""
