"""What the paired benchmarks share: two processes that take turns, the work both get, and our own side of it."""
