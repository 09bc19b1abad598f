"""The JSON API, `/api/v1`: what a program may do in a member's name, with a token of theirs.

Start reading at `table.py`, which holds every operation. From the same declarations come routing, validation,
authorisation and the OpenAPI document.
"""
