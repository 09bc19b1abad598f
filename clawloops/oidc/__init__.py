"""Speaks OpenID Connect to an identity provider, and believes nothing of it that was not checked. Knows no accounts."""
