"""The one training loop, its checkpoints, its processes and its costs."""
