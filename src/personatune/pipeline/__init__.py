"""The stages of a run in order: what joins data, model, training and evaluation."""
