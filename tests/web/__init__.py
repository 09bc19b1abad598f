"""Tests of the pages, the hand-over, ForwardAuth and the relay, over real HTTP."""
