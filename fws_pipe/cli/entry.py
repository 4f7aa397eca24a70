"""The entry points of the commands: each sets its signals first, and only then imports its own modules.

The imports take some tenths of a second, in which an interrupt must not show a traceback. So this module itself imports
next to nothing: not even typing, which takes longer than Python's own start.
"""

from __future__ import annotations

from fws_pipe.system.signals import die_of_interrupts, restore_what_a_server_needs


def fws_pipe() -> None:
    """Run fws-pipe."""
    _prepare_server()
    from fws_pipe.cli.serve import pipe_main

    pipe_main()


def fws_front() -> None:
    """Run fws-front."""
    _prepare_server()
    from fws_pipe.cli.serve import front_main

    front_main()


def fws_server() -> None:
    """Run fws_server."""
    _prepare_server()
    from fws_pipe.cli.serve import server_main

    server_main()


def _prepare_server() -> None:
    die_of_interrupts()
    restore_what_a_server_needs()
    from fws_pipe.system.first_process import serve_as_child

    serve_as_child()


def fws_sink() -> None:
    """Run fws-sink."""
    die_of_interrupts()
    from fws_pipe.chain.sink import main

    main()


def fws_source() -> None:
    """Run fws-source."""
    die_of_interrupts()
    from fws_pipe.broker.source import main

    main()


def fws_cat() -> None:
    """Run fws-cat."""
    die_of_interrupts()
    from fws_pipe.cli.fws_cat import main

    main()


def fws_emit() -> None:
    """Run fws-emit."""
    die_of_interrupts()
    from fws_pipe.cli.fws_emit import main

    main()


def fws_filter() -> None:
    """Run fws-filter."""
    die_of_interrupts()
    from fws_pipe.sdk.host import main

    main()


def fws_python() -> None:
    """Run fws-python."""
    die_of_interrupts()
    from fws_pipe.cli.fws_python import main

    main()


def fws_check() -> None:
    """Run fws-check."""
    die_of_interrupts()
    from fws_pipe.cli.fws_check import main

    main()


def fws_ctl() -> None:
    """Run fws-ctl."""
    die_of_interrupts()
    from fws_pipe.cli.fws_ctl import main

    main()


def fws_top() -> None:
    """Run fws-top."""
    die_of_interrupts()
    from fws_pipe.cli.fws_top import main

    main()


def fws_test() -> None:
    """Run fws-test."""
    die_of_interrupts()
    from fws_pipe.cli.fws_test import main

    main()


def fws_replay() -> None:
    """Run fws-replay."""
    die_of_interrupts()
    from fws_pipe.cli.fws_replay import main

    main()


def fws_otlp() -> None:
    """Run fws-otlp."""
    die_of_interrupts()
    from fws_pipe.cli.fws_otlp import main

    main()
