"""Chaos: clients talk through a chain while everything around them is killed, stopped, restarted or taken away.

    clients <=> fws-pipe "cat | publish chaos | rooms | answer" <=> Redis <=> a subscriber and a publisher of our own

Each client says numbered messages with a checksum, and everybody in its room hears them, itself included. `accounts.py`
has what must hold of that in the end, exactly; `faults.py` what is done meanwhile, at random, by a seed.

Published messages are held to the same. Pub/sub is at most once for a subscriber that is away, so ours never is: a
Redis that starts again opens its port to the server only when our subscriber is there (`redis_side.py`). What comes in
from Redis may be missed while the source is away: it is counted, and its order checked.
"""
