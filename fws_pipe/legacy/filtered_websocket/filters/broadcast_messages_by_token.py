"""Sends each message to the other clients of the sender's group, which it chooses with `token:NAME`."""

from fws_pipe.sdk.token_groups import register

register()
