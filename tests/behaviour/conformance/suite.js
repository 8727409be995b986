// What every language must do alike; see suite.lua.
const SKIPPED = ["exit", "drop", "set_drop"];
const LONG = "x".repeat(70000);
const SETS = [
  [], [1], [-1], ["x"], [""], ["$ru"], ["$(ru{s.len"], [true], [{}], [null, 1],
  ["x", "y"], [1, 2], ["x", 2], [1, "y"], ["location", "sip:a@b"], ["x", "y", "z"], [1, 2, 3],
  ["a", 1, "b"], ["a", "b", 1], ["a", "b", "c", "d"], [1, 2, 3, 4], ["a", "b", "c", 1],
  ["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "e", "f"], [1, 2, 3, 4, 5, 6, 7], [LONG],
  ["\0\udcff\r\n", "\0", "\udcff"], ["/[/", "/(/"], [99999999999, -99999999999], ["[", "(", "*"],
];
let state = 0;

const NAMES = [];
for (const [prefix, t] of Object.entries(KSR)) {
  if (typeof t === "function") {
    if (!SKIPPED.includes(prefix)) NAMES.push(["KSR." + prefix, t]);
  } else if (!prefix.startsWith("app_")) {
    for (const [name, f] of Object.entries(t)) {
      if (!SKIPPED.includes(name)) NAMES.push([`KSR.${prefix}.${name}`, f]);
    }
  }
}
NAMES.sort((a, b) => (a[0] < b[0] ? -1 : 1));

function shown(v) {
  if (v === null) return "null";
  if (typeof v === "string") return "'" + v.slice(0, 24).replace(/[^ -~]/g, "?") + "'";
  if (Array.isArray(v)) return "[" + v.map(shown).join(",") + "]";
  if (typeof v === "object") {
    return "[" + Object.entries(v).map(([k, x]) => k + "=" + shown(x)).join(",") + "]";
  }
  return String(v);
}

function attempt(f, args) {
  try {
    return shown(f(...args));
  } catch (e) {
    const at = String(e).indexOf("KSR.");
    return "!" + (at < 0 ? "error" : String(e).slice(at, at + 61));
  }
}

function try_all(name, f) {
  KSR.err("RESULT " + name + " = " + SETS.map((args) => attempt(f, args)).join(" | ") + "\n");
}

function values() {
  for (const name of ["$ru", "$rU", "$fu", "$ci", "$rm", "$Rp", "$si", "$sp", "$cs", "$ua", "$avp(none)", "$var(none)", "$hdr(X-Bytes)", "$ml"]) {
    KSR.err("VALUE " + name + " = " + shown(KSR.pv.get(name)) + "\n");
  }
  KSR.pv.seti("$avp(i)", 4294967296);
  KSR.pv.sets("$avp(s)", KSR.pv.get("$hdr(X-Bytes)"));
  KSR.err("VALUE avps = " + shown(KSR.pv.get("$avp(i)")) + shown(KSR.pv.get("$avp(s)")) + "\n");
  KSR.pv.sets("$avp(f)", 0.25);
  KSR.err("VALUE fraction = " + shown(KSR.pv.get("$avp(f)")) + "\n");
  KSR.err("VALUE flags = " + shown(KSR.setflag(3)) + shown(KSR.isflagset(3)) + shown(KSR.isflagset(4)) + "\n");
  KSR.hdr.append_to_reply("X-Back: " + KSR.pv.get("$hdr(X-Bytes)") + "\r\n");
}

function deeper(n) {
  if (n === 0) {
    KSR.sl.sl_send_reply(202, "Accepted");
    KSR.x.exit();
  }
  try {
    deeper(n - 1);
  } finally {
    n += 1;
  }
}

const ABUSES = {
  LOOP() { while (true); },
  CATCH() { while (true) { try { while (true); } catch (e) {} finally { while (true); } } },
  RECURSE() { const f = () => 1 + f(); return f(); },
  EAT() { const t = []; while (true) t.push("x".repeat(1000) + t.length); },
  GROW() { let s = "x"; while (true) { s = s + s; s.charCodeAt(1); } },
  FAIL() { const x = null; return x.y; },
  WRONG() { KSR.setflag("many"); },
  MANYARGS() { KSR.setflag(1, 2, 3, 4, 5, 6, 7, 8); },
  THROW() { throw {}; },
  NEST() { KSR.app_jsdt.run("nest"); },
};
function nest() { KSR.app_jsdt.run("nest"); }

function ksr_request_route() {
  const method = KSR.pv.get("$rm");
  if (method in ABUSES) {
    ABUSES[method]();
  } else if (method === "INFO") {
    const n = Number(KSR.pv.get("$rU"));
    try_all(...NAMES[n - 1]);
    return 1;
  } else if (method === "COUNT") {
    KSR.sl.sl_send_reply(200, NAMES.length + " functions");
    return 1;
  } else if (method === "OPTIONS") {
    KSR.err("PROBE " + (KSR.pv.get("$rU") || "") + ".\n");
  } else if (method === "VALUES") {
    values();
  } else if (method === "CAUGHT") {
    try { deeper(5); } catch (e) {}
    KSR.err("not reached\n");
  } else if (method === "EXIT") {
    deeper(5);
    KSR.err("not reached\n");
  } else if (method === "DROP") {
    KSR.x.drop();
    KSR.err("not reached\n");
  } else if (method === "MANY") {
    for (let i = 1; i <= 50000; i++) {
      KSR.setflag(i % 30);
      KSR.pv.get("$ru");
    }
  } else if (method === "STATE") {
    state += 1;
    KSR.sl.sl_send_reply(200, "state " + state);
    return 1;
  } else if (method === "CALLED") {
    const ran = KSR.app_jsdt.run_p2("called", "a", "b");
    KSR.sl.sl_send_reply(200, "called " + ran + KSR.pv.get("$avp(called)"));
    return 1;
  } else if (method === "PIECE") {
    for (let n = 5; n < 8; n++) {
      KSR.app_jsdt.runstring("function fresh() { piece = " + n + "; }");
      KSR.app_jsdt.run("fresh");
    }
    KSR.sl.sl_send_reply(200, "piece " + piece);
    return 1;
  }
  KSR.sl.sl_send_reply(200, "OK");
  return 1;
}

function called(a, b) {
  KSR.pv.sets("$avp(called)", a + b);
}
