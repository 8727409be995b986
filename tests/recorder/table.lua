-- Runs the table of pseudo-variables: on Kamailio to record the values, on Olelo to compare them.
--
-- A message names its case in X-Case. The case's setup runs, its expression is read, and the type
-- and the value go to the results, one line each, the value in hexadecimal. The same script serves
-- both servers, so whatever it does is the same for both.

dofile("@CASES@") -- CASES[number] = { setup, expression }

local function hex(s)
  return (s:gsub(".", function(c) return string.format("%02x", c:byte()) end))
end

-- What setups are written with.
function sets(name, v) KSR.pv.sets(name, v) end
function seti(name, v) KSR.pv.seti(name, v) end
function unset(name) KSR.pv.unset(name) end
function get(name) return KSR.pv.get(name) end

local function value(case)
  if case[1] ~= "" then
    local result = assert(loadstring(case[1]))()
    if result ~= nil then return result end
  end
  if case[2] == "" then return nil end
  return KSR.pv.get(case[2])
end

local function run()
  local number = KSR.pv.get("$hdr(X-Case)")
  local case = number and CASES[number]
  if not case then return 1 end
  local ok, v = pcall(value, case)
  local kind, text = "null", ""
  if not ok then kind, text = "error", tostring(v)
  elseif type(v) == "number" then kind, text = "int", string.format("%.0f", v)
  elseif type(v) == "boolean" then kind, text = "bool", tostring(v)
  elseif type(v) == "string" then kind, text = "str", v
  elseif v ~= nil then kind = type(v) end
  local f = io.open("@RESULTS@", "a")
  f:write(number, " ", kind, " ", hex(text), "\n")
  f:close()
  return 1
end

function ksr_request_route() run() return 1 end
function ksr_reply_route() run() return 1 end
function ksr_xhttp_event(event) return 1 end
