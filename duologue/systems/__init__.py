"""Systems that converse: the seam, and the native model behind it."""
