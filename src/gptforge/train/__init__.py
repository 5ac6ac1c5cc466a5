"""The training run: config to objects, the loop, and the state that makes it resumable."""
