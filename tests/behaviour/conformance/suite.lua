-- What every language must do alike. The other suites say the same in their languages: what one of
-- them answers, all must.
local SKIPPED = { exit = true, drop = true, set_drop = true }
local LONG = string.rep("x", 70000)
local SETS = {
  {}, { 1 }, { -1 }, { "x" }, { "" }, { "$ru" }, { "$(ru{s.len" }, { true }, { {} }, { nil, 1 },
  { "x", "y" }, { 1, 2 }, { "x", 2 }, { 1, "y" }, { "location", "sip:a@b" }, { "x", "y", "z" }, { 1, 2, 3 },
  { "a", 1, "b" }, { "a", "b", 1 }, { "a", "b", "c", "d" }, { 1, 2, 3, 4 }, { "a", "b", "c", 1 },
  { "a", "b", "c", "d", "e" }, { "a", "b", "c", "d", "e", "f" }, { 1, 2, 3, 4, 5, 6, 7 }, { LONG },
  { "\0\255\r\n", "\0", "\255" }, { "/[/", "/(/" }, { 99999999999, -99999999999 }, { "[", "(", "*" },
}
local state = 0

local NAMES = {}
for prefix, t in pairs(KSR) do
  if type(t) ~= "table" then
    if not SKIPPED[prefix] then NAMES[#NAMES + 1] = { "KSR." .. prefix, t } end
  elseif prefix:sub(1, 4) ~= "app_" then
    for name, f in pairs(t) do
      if not SKIPPED[name] then NAMES[#NAMES + 1] = { "KSR." .. prefix .. "." .. name, f } end
    end
  end
end
table.sort(NAMES, function(a, b) return a[1] < b[1] end)

local function shown(v)
  if v == nil then return "null" end
  if type(v) == "string" then
    return "'" .. v:sub(1, 24):gsub("[^ -~]", "?") .. "'"
  elseif type(v) == "number" then
    return ("%.0f"):format(v)
  elseif type(v) == "table" then
    local out = {}
    for k, x in pairs(v) do out[#out + 1] = (type(k) == "string" and k .. "=" or "") .. shown(x) end
    return "[" .. table.concat(out, ",") .. "]"
  end
  return tostring(v)
end

local function attempt(f, args)
  local fine, v = pcall(f, unpack(args, 1, table.maxn(args)))
  if fine then return shown(v) end
  v = tostring(v)
  local at = v:find("KSR%.")
  return "!" .. (at and v:sub(at, at + 60) or "error")
end

local function try_all(name, f)
  local out = {}
  for i, args in ipairs(SETS) do out[i] = attempt(f, args) end
  KSR.err("RESULT " .. name .. " = " .. table.concat(out, " | ") .. "\n")
end

local function values()
  for _, name in ipairs({ "$ru", "$rU", "$fu", "$ci", "$rm", "$Rp", "$si", "$sp", "$cs", "$ua", "$avp(none)", "$var(none)", "$hdr(X-Bytes)", "$ml" }) do
    KSR.err("VALUE " .. name .. " = " .. shown(KSR.pv.get(name)) .. "\n")
  end
  KSR.pv.seti("$avp(i)", 4294967296)
  KSR.pv.sets("$avp(s)", KSR.pv.get("$hdr(X-Bytes)"))
  KSR.err("VALUE avps = " .. shown(KSR.pv.get("$avp(i)")) .. shown(KSR.pv.get("$avp(s)")) .. "\n")
  KSR.pv.sets("$avp(f)", 0.25)
  KSR.err("VALUE fraction = " .. shown(KSR.pv.get("$avp(f)")) .. "\n")
  KSR.err("VALUE flags = " .. shown(KSR.setflag(3)) .. shown(KSR.isflagset(3)) .. shown(KSR.isflagset(4)) .. "\n")
  KSR.hdr.append_to_reply("X-Back: " .. KSR.pv.get("$hdr(X-Bytes)") .. "\r\n")
end

local function deeper(n)
  if n == 0 then
    KSR.sl.sl_send_reply(202, "Accepted")
    KSR.x.exit()
  end
  deeper(n - 1)
end

local ABUSES = {}
function ABUSES.LOOP() while true do end end
function ABUSES.CATCH() while true do pcall(function() while true do end end) end end
function ABUSES.RECURSE() local function f() return 1 + f() end return f() end
function ABUSES.EAT() local t = {} while true do t[#t + 1] = string.rep("x", 1000) .. #t end end
function ABUSES.GROW() local s = "x" while true do s = s .. s end end
function ABUSES.FAIL() local x = nil; return x.y end
function ABUSES.WRONG() KSR.setflag("many") end
function ABUSES.MANYARGS() KSR.setflag(1, 2, 3, 4, 5, 6, 7, 8) end
function ABUSES.THROW() error({}) end
function ABUSES.NEST() KSR.app_lua.run("nest") end
function nest() KSR.app_lua.run("nest") end

function ksr_request_route()
  local method = KSR.pv.get("$rm")
  if ABUSES[method] then
    ABUSES[method]()
  elseif method == "INFO" then
    local n = tonumber(KSR.pv.get("$rU"))
    try_all(NAMES[n][1], NAMES[n][2])
    return 1
  elseif method == "COUNT" then
    KSR.sl.sl_send_reply(200, #NAMES .. " functions")
    return 1
  elseif method == "OPTIONS" then
    KSR.err("PROBE " .. (KSR.pv.get("$rU") or "") .. ".\n")
  elseif method == "VALUES" then
    values()
  elseif method == "CAUGHT" then
    pcall(deeper, 5)
    KSR.err("not reached\n")
  elseif method == "EXIT" then
    deeper(5)
    KSR.err("not reached\n")
  elseif method == "DROP" then
    KSR.x.drop()
    KSR.err("not reached\n")
  elseif method == "MANY" then
    for i = 1, 50000 do
      KSR.setflag(i % 30)
      KSR.pv.get("$ru")
    end
  elseif method == "STATE" then
    state = state + 1
    KSR.sl.sl_send_reply(200, "state " .. state)
    return 1
  elseif method == "CALLED" then
    local ran = KSR.app_lua.run_p2("called", "a", "b")
    KSR.sl.sl_send_reply(200, "called " .. ran .. KSR.pv.get("$avp(called)"))
    return 1
  elseif method == "PIECE" then
    for n = 5, 7 do
      KSR.app_lua.runstring("function fresh() piece = " .. n .. " end")
      KSR.app_lua.run("fresh")
    end
    KSR.sl.sl_send_reply(200, "piece " .. piece)
    return 1
  end
  KSR.sl.sl_send_reply(200, "OK")
  return 1
end

function called(a, b)
  KSR.pv.sets("$avp(called)", a .. b)
end
