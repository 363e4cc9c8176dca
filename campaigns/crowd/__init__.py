"""The parts of the load campaign: the server under test, people who talk with it, and strangers who mean no good."""
