"""HTTP/1.1 for the hot paths, on both of their sides: llhttp (httptools) reads, and a loop's callbacks do the rest.

Why not aiohttp, which serves the pages and everything that is not hot: docs/decisions/0028.
"""
