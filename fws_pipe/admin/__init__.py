"""The admin address: health and metrics of a running server over HTTP, on another address than the clients'.

    accept -> connection (HTTP/1.1 by h11) -> access (Host) -> site: /live, /ready, /metrics
                                                                health, metrics -> exposition
                                                                /tap: taps, which stream frames; /log

Rule: a scraper that stalls, floods or lies about its Host costs only itself; clients never share its address.
"""
