"""Speech language models: streams on a frame grid over temporal and depth transformers."""
