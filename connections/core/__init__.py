"""Values and small tools that know no domain: time, errors, causes, sites, secrets, text."""
