"""Benchmarks, `clawloops bench NAME`: side by side with what they are compared to, in ratios wherever there is a peer."""
