"""Building blocks that stream: convolutions, the transformer, quantisers."""
