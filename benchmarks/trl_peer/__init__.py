"""TRL 1.12 as the peer: an environment of its own and the scripts that run inside it."""
