#!/usr/bin/env -S sed -uf
# Sends each message back in upper case. sed under `map`.
#
#     $ echo hello | ./upper.sed
#     HELLO
#     $ echo '{"type":"message","id":"a","data":"hello"}' | fws-test "map ./upper.sed | mirror"
#     {"data":"HELLO","id":"a","seq":1,"time":0.0,"type":"message"}
#     {"data":"HELLO","seq":1,"to":"a","type":"send"}
#
# Serve it: fws-pipe "map ./upper.sed | mirror"
#
# Letters such as é become capitals in a UTF-8 locale. Binary messages pass by.

s/.*/\U&/
