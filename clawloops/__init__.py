"""ClawLoops: private OpenClaw workspaces for a small team on one Docker host."""

__version__ = "0.1.0"
