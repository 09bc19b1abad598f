"""The model gateway, through real sockets."""
