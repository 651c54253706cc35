"""Access requests: what is requested, sent, proven and recorded."""
