"""Keeps the certificate that Traefik serves: of our own authority, or from given files. A process without a network."""
