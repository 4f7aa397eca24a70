#!/usr/bin/env -S mawk -W interactive -f
# A room: sends each message to all others, under its sender's name, which /nick NAME sets. awk under `lines`.
#
#     $ printf 'message\ta\t/nick Ada\nmessage\ta\thello\nclose\ta\t1000\n' | ./room.awk
#     send	!a	Ada: hello
#     send	*	Ada has left
#
# Serve it: fws-pipe "lines ./room.awk"
#
# Binary messages are ignored. gawk runs it as well: fws-pipe "lines gawk -f room.awk"

BEGIN { FS = OFS = "\t" }
$1 == "open" { name[$2] = "guest" }
$1 == "message" && $3 ~ /^\/nick ./ { name[$2] = substr($3, 7); next }
$1 == "message" { print "send", "!" $2, name[$2] ": " $3 }
$1 == "close" { print "send", "*", name[$2] " has left"; delete name[$2] }
{ fflush() } # each line is written at once, by gawk too
