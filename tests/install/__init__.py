"""install.sh as a person runs it: the real script, on this machine."""
