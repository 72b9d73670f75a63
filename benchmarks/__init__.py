"""The harness: one command trains, scores and compares generative models."""
