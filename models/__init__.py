"""The families of generative models, one file each; every one is a game for one training loop."""
