"""Redis, in whichever process needs it: where it is, publishing, subscribing, and the membership kept there.

    sink -> redis_broker -> publisher -> Redis -> source -> the front

Rule: an outage is waited for, never raised, once a process serves. The front itself never loads redis-py.
"""
