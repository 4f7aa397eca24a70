"""A stage that looks at each message and lets it through: what one more filter in Python costs."""

from fws_pipe.sdk import on, run
from fws_pipe.sdk.functions import Event


@on("message")
def pass_all(event: Event) -> None:
    """Look at it, and change nothing."""
    event["data"]


run()
