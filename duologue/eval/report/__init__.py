"""The report of a run: one page to look at and to hear, a summary as text, and all figures for programs."""
