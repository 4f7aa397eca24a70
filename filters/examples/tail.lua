#!/usr/bin/env lua
-- Sends each client the lines of a log that hold the words it sent last, at first all. lua under `lines`.
--
--     $ printf 'open\ta\t/\nconsumer\tlog\tone\nmessage\ta\two\nconsumer\tlog\tone\nconsumer\tlog\ttwo\n' | ./tail.lua
--     send	a	one
--     send	a	two
--
-- Serve it: fws-pipe --source 'log=tail -n 0 -F access.log' "lines ./tail.lua"

io.stdout:setvbuf("line") -- each line is written at once
local wanted = {}

for line in io.lines() do
  local what, who, text = line:match("^([^\t]*)\t([^\t]*)\t?(.*)")
  if what == "open" then
    wanted[who] = ""
  elseif what == "message" then
    wanted[who] = text
  elseif what == "close" then
    wanted[who] = nil
  elseif what == "consumer" and who == "log" then
    for client, words in pairs(wanted) do
      if text:find(words, 1, true) then print("send", client, text) end
    end
  end
end
