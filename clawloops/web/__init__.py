"""HTTP for people: pages, sign-in, workspace hand-over, ForwardAuth and the WebSocket relay."""
