"""Redis, in whichever process needs it: where it is, publishing, subscribing, and the membership kept there.

    the sink -> broker (redis_broker, or none) -> publisher -> Redis -> source -> the front

Rule: an outage is waited for, never raised, once a process serves. The front itself never loads redis-py.
"""

VARIABLE = "FWS_REDIS"
"""The environment variable that hands the settings to the processes that need them; never argv, which all can read."""

STANDBY_VARIABLE = "FWS_STANDBY"
"""Set for the sink of a chain that has yet to take over: what it publishes then waits (publisher.py)."""
