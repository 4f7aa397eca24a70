"""Which broker there is, by the environment alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fws_pipe.broker.broker import NoBroker, open_broker
from fws_pipe.errors import UsageError


def test_without_redis_nothing_is_taken_and_nothing_waited_for() -> None:
    broker = open_broker({"PATH": "/bin"}, lambda: None, lambda: None)
    assert isinstance(broker, NoBroker)
    assert not broker.publish({"type": "publish", "channel": "c", "data": "x"})
    broker.relay({"type": "send", "to": "*", "data": "x", "everywhere": True})
    broker.note_tick(1)
    broker.finish()
    assert (broker.accepted, broker.finished, broker.lost, broker.take_counts()) == (0, 0, 0, {})


@pytest.mark.parametrize("text", ["", "{", '{"url": "http://x"}'])
def test_what_fws_pipe_has_not_written_is_an_error_and_no_server_alone(text: str) -> None:
    with pytest.raises(UsageError, match="FWS_REDIS"):
        open_broker({"FWS_REDIS": text}, lambda: None, lambda: None)


def test_redis_is_not_loaded_where_there_is_none() -> None:
    program = (
        "import sys; from fws_pipe.chain import sink; from fws_pipe.broker.broker import open_broker; "
        "open_broker({}, print, print); print('redis' in sys.modules, 'urllib.parse' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
