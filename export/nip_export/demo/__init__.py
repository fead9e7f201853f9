"""The embedded example: images, a small trained network and its surrogate."""
