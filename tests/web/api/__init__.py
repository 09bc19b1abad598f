"""The JSON API: what a program with a token can do, and what it cannot."""
