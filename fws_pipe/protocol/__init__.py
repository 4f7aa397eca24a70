"""What travels on the pipes: frames, and the events and actions that they hold.

    bytes -> codec -> frames -> events, actions; outgoing puts frames together again, json_form is for jq and people

Rule: no I/O and no clock in here, and nothing of a server: every filter loads this room.
"""
