"""Where problems come from, which are kept for evaluation, and which one is asked next.

The road through the folder: `sources.load_problems` reads them, `split.split_problems` removes
duplicates and keeps some apart, a `sampler_protocol.Sampler` decides the order in which they are
leased, and the accuracy of each finished group comes back to it.
"""
