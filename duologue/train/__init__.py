"""Training: one loop, and what each model adds to it."""
