"""The broker, which joins servers: Redis, or none. It publishes, subscribes, and keeps the membership.

    the sink -> broker (redis_broker, or none) -> publisher -> Redis -> source -> the front

Rule: once a process serves, it waits for the end of an outage and never fails by it. The front never loads redis-py.
"""

VARIABLE = "FWS_REDIS"
"""The environment variable with the settings for child processes; all users of a machine can read argv."""

STANDBY_VARIABLE = "FWS_STANDBY"
"""Set for the sink of a chain that has yet to take over: what it publishes then waits (publisher.py)."""

LOST_BY_SOURCE = "redis lost by the source"
"""The name under which a source counts that it hears Redis no more; the front knows by it that Redis is away."""

FOUND_BY_SOURCE = "redis found again by the source"
"""The name under which a source counts that it is subscribed again."""

MISSED = "actions of other servers missed"
"""The name under which a source counts what it has missed while Redis was away."""
