"""The suites: each asks one kind of question of any system, over the one seam."""
