#!/bin/sh
# Tells each client how many messages it has sent. sh and jq, on lines of JSON.
#
#     $ printf '{"type":"message","id":"%s","seq":%s}\n' a 1 b 2 a 3 | ./counter.sh | grep send
#     {"type":"send","to":"a","data":"1","seq":1}
#     {"type":"send","to":"b","data":"1","seq":2}
#     {"type":"send","to":"a","data":"2","seq":3}
#
# Serve it: fws-pipe "to_json | ./counter.sh | from_json"
#
# It counts anew when the chain starts again.

exec jq -cn --unbuffered '
    foreach inputs as $frame ({};
        if $frame.type == "message" then .[$frame.id] += 1
        elif $frame.type == "disconnect" then del(.[$frame.id])
        else . end;
        $frame,
        if $frame.type == "message" then {type: "send", to: $frame.id, data: "\(.[$frame.id])", seq: $frame.seq}
        else empty end
    )'
