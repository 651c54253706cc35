"""Values and small tools without domain knowledge: time, errors, causes, sites, secrets, text."""
