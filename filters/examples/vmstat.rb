#!/usr/bin/env ruby
# Sends the load of this machine to all clients, as JSON, and the newest at once to a new one. ruby, on lines of JSON.
#
#     $ printf '{"type":"consumer","channel":"vmstat","data":"%s","seq":1}\n' 'r free' '2 512' | ./vmstat.rb | grep send
#     {"type":"send","to":"*","data":"{\"r\":2,\"free\":512}","seq":1}
#
# Serve it: fws-pipe --source 'vmstat=vmstat 2' "to_json | ./vmstat.rb | from_json"

require "json"

$stdout.sync = true # each line is written at once
names = []
newest = nil
tell = ->(to, seq) { puts JSON.generate(type: "send", to: to, data: newest, seq: seq) }

$stdin.each_line do |line|
  puts line
  frame = JSON.parse(line)
  if frame["type"] == "open"
    tell.(frame["id"], frame["seq"]) if newest
  elsif frame["type"] == "consumer" && frame["channel"] == "vmstat"
    words = frame["data"].split
    if words.first == "r"
      names = words
    elsif words.size == names.size
      newest = JSON.generate(names.zip(words.map(&:to_i)).to_h)
      tell.("*", frame["seq"])
    end
  end
end
