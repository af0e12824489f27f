"""Hydra's files: one folder for each part of the configuration, and whole settings in `experiment/`."""
