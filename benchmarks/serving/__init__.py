"""What `benchmarks/serve.py` is made of: a server process, clients that talk, and clients that misbehave."""
