"""The runtime manager: the only code that speaks to the Docker Engine."""
