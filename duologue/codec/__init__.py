"""Codecs: waveforms to codes and back, offline and as streams."""
