#!/bin/sh
# A calculator for each client, which keeps its variables. bc under `per_client`.
#
#     $ printf 'x = 2^100\nx + 1\nx * x\n' | ./bc.sh
#     1267650600228229401496703205377
#     1606938044258990275541962092341162602522202993782792835301376
#
# Serve it: fws-pipe "per_client ./bc.sh"

export BC_LINE_LENGTH=0 # no answer is cut into lines
exec bc -lq 2>&1        # what is wrong is an answer, too
