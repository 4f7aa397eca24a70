#!/bin/sh
# A Python prompt for each client, which keeps its names. python3 -i under `per_client`.
#
#     $ printf 'x = 20\nx + 1\nfor i in range(2):\n    print(i)\n\n' | ./repl.sh
#     21
#     0
#     1
#
# Serve it: fws-pipe --origin none "per_client ./repl.sh"
#
# Its clients can do on this machine whatever you can! `--origin none` keeps web pages out; for more see
# fws-pipe --help security. A block of several lines, in one message or in several, ends with an empty line.

exec python3 -i -u -q -c 'import sys; sys.ps1 = sys.ps2 = ""' 2>&1
