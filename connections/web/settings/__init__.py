"""Settings: what people can set up, as their roles allow, and the state of the installation."""
