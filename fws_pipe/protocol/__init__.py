"""What travels on the pipes: frames, events, actions. No I/O in here."""
