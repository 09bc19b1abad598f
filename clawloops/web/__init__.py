"""HTTP for people: pages, sign-in, workspace hand-over, ForwardAuth and the WebSocket relay.

Start reading at `routes.py`, which holds every address of both listeners.
"""
