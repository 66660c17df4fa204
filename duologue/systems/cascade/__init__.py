"""The cascade: voice detection, recognition, an answer in text and synthesis, one after the other behind one system."""
