"""What benchmarks share: how they end; and the paired ones two processes taking turns, their work, and our side."""
