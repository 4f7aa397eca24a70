#!/usr/bin/env bash
# Rooms: sends each message to all clients with the same URL path. bash under `lines`.
#
#     $ printf 'open\ta\t/tea\nmessage\ta\thello\n' | ./room.sh
#     join	a	/tea
#     send	@/tea	hello
#
# Serve it: fws-pipe "lines ./room.sh"
#
# Binary messages are ignored, and NUL characters left out.

declare -A room
while IFS=$'\t' read -r what id text _; do
    case $what in
    open) room[$id]=${text%%\?*}; printf 'join\t%s\t%s\n' "$id" "${room[$id]}" ;;
    message) printf 'send\t@%s\t%s\n' "${room[$id]}" "$text" ;;
    close) unset "room[$id]" ;;
    esac
done
