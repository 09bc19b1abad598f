"""Benchmarks, `clawloops bench NAME`: in ratios wherever there is a peer to run beside."""
