"""HTTP and SMTP with a deadline for each request. No other package opens a connection."""
