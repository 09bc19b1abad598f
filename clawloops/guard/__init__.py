"""The guard: the only process that holds the Docker Engine's socket. It lends two others, which can do far less.

One is for the control plane and lets through what `clawloops/runtimes/calls.py` lists, with exactly the bodies that
ClawLoops makes; one is for Traefik and shows members' routes, nothing else. It has no network, no database and no key,
and nothing that it decides comes from a file that the control plane can write.
"""
