"""Certificates as browsers are served them: a real Traefik with the configuration that install.sh writes."""
