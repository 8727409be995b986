//! Every exported function can be called from Lua, and no argument can harm the server.

use olelo_tests::{Phone, Setup, Transport};

/// Calls everything under KSR with arguments that don't fit, and tells how many functions there are
/// and how many calls raised an error.
const SCRIPT: &str = r#"
local skip = { exit = true, drop = true, set_drop = true }
local sets = {
  {}, { 1 }, { -1 }, { "x" }, { "" }, { "$ru" }, { "$(ru{s.len" }, { true }, { {} }, { nil, 1 },
  { "x", "y" }, { 1, 2 }, { "x", 2 }, { 1, "y" }, { "location", "sip:a@b" }, { "x", "y", "z" }, { 1, 2, 3 },
  { "a", 1, "b" }, { "a", "b", 1 }, { "a", "b", "c", "d" }, { 1, 2, 3, 4 }, { "a", "b", "c", 1 }, { "a", "b", "c", "d", "e" },
  { "a", "b", "c", "d", "e", "f" }, { 1, 2, 3, 4, 5, 6, 7 }, { string.rep("x", 70000) }, { "\0\255\r\n", "\0", "\255" },
  { "/[/", "/(/" }, { 99999999999, -99999999999 }, { "[", "(", "*" },
}

local function each(t, f, prefix)
  for name, v in pairs(t) do
    if type(v) == "table" then each(v, f, prefix .. name .. ".")
    elseif not skip[name] then f(prefix .. name, v) end
  end
end

local names = {}
each(KSR, function(name, f) names[#names + 1] = { name, f } end, "KSR.")
table.sort(names, function(a, b) return a[1] < b[1] end)

local function abuse(from, to)
  local errors = 0
  for i = from, math.min(to, #names) do
    for _, args in ipairs(sets) do
      local ok = pcall(names[i][2], unpack(args, 1, table.maxn(args)))
      if not ok then errors = errors + 1 end
    end
  end
  return errors
end

function ksr_request_route()
  local user = KSR.pv.gete("$rU")
  if user == "count" then KSR.sl.sl_send_reply(200, #names .. " functions") return 1 end
  if KSR.is_OPTIONS() then KSR.sl.sl_send_reply(200, "OK") return 1 end
  if KSR.is_INFO() then
    local from = tonumber(user)
    local errors = abuse(from, from)
    KSR.sl.sl_send_reply(200, names[from][1] .. " " .. errors)
  end
end
"#;

#[test]
fn no_argument_of_any_function_harms_the_server() {
    let server = Setup::lua(SCRIPT).cfg("modparam(\"htable\", \"htable\", \"x=>size=4\")\nmodparam(\"app_lua\", \"time_limit\", 5000)").start();
    let before = server.processes();
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    let reply = phone.ask(&phone.request("OPTIONS", "sip:count@test.local", "", ""));
    let reason = String::from_utf8_lossy(reply.reason()).into_owned();
    let count: usize = reason
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    assert!(count > 300, "{reason}");
    // Each function is abused in a message of its own: one may well end the message (t_relay, replies).
    let mut probe = Phone::udp("b", server.addr);
    for i in 1..=count {
        phone.send(phone.request("INFO", &format!("sip:{i}@test.local"), "", "v=0\r\n"));
        if i % 25 == 0 {
            assert_eq!(
                probe
                    .ask(&probe.request("OPTIONS", "sip:test.local", "", ""))
                    .status(),
                200,
                "after function {i}"
            );
        }
    }
    assert_eq!(
        probe
            .ask(&probe.request("OPTIONS", "sip:test.local", "", ""))
            .status(),
        200
    );
    let after = server.processes();
    assert_eq!(
        after,
        before,
        "{}",
        server
            .logged()
            .lines()
            .filter(|l| l.contains("ended by") || l.contains("CRITICAL"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert_eq!(server.stat("core.panics"), 0);
}
