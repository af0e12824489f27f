"""The shared replay buffer: what every completion is, where it is, and when it is trained on."""
