"""The model gateway: one door to every model, with no key behind it."""
