"""The server: conversations over the wire, for the clients that the world already has.

    socket ─ realtime (protocol) ─ session (turns, resampling) ─ slot of an engine ─ system

`session` is what every protocol shares: sound in, sound and words out. A protocol is an adapter from its messages to
the methods of a session and back; `realtime` is the OpenAI Realtime API. `limits`, `keys` and `metrics` guard and
watch all of them; `app` puts them under their paths.
"""
