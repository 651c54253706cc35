"""Access requests: asking for a connection or other data types, and how they are sent."""
