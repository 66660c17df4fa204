"""Data: manifests, synthesis, dialogues on two channels, shards."""
