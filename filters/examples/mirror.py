#!/usr/bin/env python3
"""Sends each message back to its sender. Python without the SDK, on frames.

    $ echo '{"type":"message","id":"a","data":"hello"}' | fws-test ./mirror.py
    {"data":"hello","id":"a","seq":1,"time":0.0,"type":"message"}
    {"data":"hello","seq":1,"to":"a","type":"send"}

Serve it: fws-pipe ./mirror.py

Its python3 needs msgpack: pip install msgpack.
"""

import os
import signal
import sys

import msgpack

signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # when the chain goes, so does this, without a traceback
unpacker = msgpack.Unpacker(max_buffer_size=0, strict_map_key=False, unicode_errors="surrogateescape")
packer = msgpack.Packer(unicode_errors="surrogateescape")

while block := os.read(0, 1 << 16):  # what is there, as soon as it is there
    unpacker.feed(block)
    for frame in unpacker:
        sys.stdout.buffer.write(packer.pack(frame))
        if frame.get("type") == "message":
            action = {"type": "send", "to": frame["id"], "data": frame["data"], "seq": frame["seq"]}
            sys.stdout.buffer.write(packer.pack(action))
    sys.stdout.flush()
