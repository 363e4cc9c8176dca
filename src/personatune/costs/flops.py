"""How many floating-point operations a stage takes, estimated from parameters and tokens.

Two for each weight and token on the way forward, two more to carry gradients back through it, and two more where
the weight itself gets a gradient (Kaplan et al. 2020, arXiv 2001.08361, section 2.1; attention's own share is left
out, under 5 % at these lengths).
"""

from __future__ import annotations


def training_flops(parameters: float, tokens: float, *, weights_trained: bool) -> float:
    """Return the operations of forward and backward pass; frozen weights (LoRA) need no gradient of their own."""
    return (6.0 if weights_trained else 4.0) * parameters * tokens
