# What every language must do alike; see suite.lua.
import KSR as KSR

SKIPPED = ("exit", "drop", "set_drop")
LONG = "x" * 70000
SETS = [
    [], [1], [-1], ["x"], [""], ["$ru"], ["$(ru{s.len"], [True], [{}], [None, 1],
    ["x", "y"], [1, 2], ["x", 2], [1, "y"], ["location", "sip:a@b"], ["x", "y", "z"], [1, 2, 3],
    ["a", 1, "b"], ["a", "b", 1], ["a", "b", "c", "d"], [1, 2, 3, 4], ["a", "b", "c", 1],
    ["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "e", "f"], [1, 2, 3, 4, 5, 6, 7], [LONG],
    ["\0\udcff\r\n", "\0", "\udcff"], ["/[/", "/(/"], [99999999999, -99999999999], ["[", "(", "*"],
]
state = 0
piece = 0


def names():
    for prefix, t in vars(KSR).items():
        if prefix.startswith("_"):
            continue
        if isinstance(t, type):
            continue
        if callable(t):
            if prefix not in SKIPPED:
                yield "KSR." + prefix, t
        elif hasattr(t, "__dict__") and not prefix.startswith("app_"):
            for name, f in vars(t).items():
                if callable(f) and not name.startswith("_") and name not in SKIPPED:
                    yield "KSR.%s.%s" % (prefix, name), f


NAMES = sorted(names(), key=lambda n: n[0])


def shown(v):
    if v is None:
        return "null"
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, str):
        return "'" + "".join(c if " " <= c <= "~" else "?" for c in v[:24]) + "'"
    if isinstance(v, (list, tuple)):
        return "[" + ",".join(map(shown, v)) + "]"
    if isinstance(v, dict):
        return "[" + ",".join(k + "=" + shown(x) for k, x in v.items()) + "]"
    return str(v)


def attempt(f, args):
    try:
        return shown(f(*args))
    except Exception as e:
        at = str(e).find("KSR.")
        return "!" + ("error" if at < 0 else str(e)[at:at + 61])


def try_all(name, f):
    KSR.err("RESULT " + name + " = " + " | ".join(attempt(f, args) for args in SETS) + "\n")


def values():
    for name in ("$ru", "$rU", "$fu", "$ci", "$rm", "$Rp", "$si", "$sp", "$cs", "$ua", "$avp(none)", "$var(none)", "$hdr(X-Bytes)", "$ml"):
        KSR.err("VALUE " + name + " = " + shown(KSR.pv.get(name)) + "\n")
    KSR.pv.seti("$avp(i)", 4294967296)
    KSR.pv.sets("$avp(s)", KSR.pv.get("$hdr(X-Bytes)"))
    KSR.err("VALUE avps = " + shown(KSR.pv.get("$avp(i)")) + shown(KSR.pv.get("$avp(s)")) + "\n")
    KSR.pv.sets("$avp(f)", str(0.25))
    KSR.err("VALUE fraction = " + shown(KSR.pv.get("$avp(f)")) + "\n")
    KSR.err("VALUE flags = " + shown(KSR.setflag(3)) + shown(KSR.isflagset(3)) + shown(KSR.isflagset(4)) + "\n")
    KSR.hdr.append_to_reply("X-Back: " + KSR.pv.get("$hdr(X-Bytes)") + "\r\n")


def deeper(n):
    if n == 0:
        KSR.sl.sl_send_reply(202, "Accepted")
        KSR.x.exit()
    deeper(n - 1)


def loop():
    while True:
        pass


def catch():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def recurse():
    return 1 + recurse()


def eat():
    t = []
    while True:
        t.append("x" * 1000 + str(len(t)))


def grow():
    s = "x"
    while True:
        s = s + s


def fail():
    x = None
    return x.y


def throw():
    raise ValueError()


ABUSES = {
    "LOOP": loop,
    "CATCH": catch,
    "RECURSE": recurse,
    "EAT": eat,
    "GROW": grow,
    "FAIL": fail,
    "WRONG": lambda: KSR.setflag("many"),
    "MANYARGS": lambda: KSR.setflag(1, 2, 3, 4, 5, 6, 7, 8),
    "THROW": throw,
    "NEST": lambda: KSR.app_python3.exec("nest"),
}


def mod_init():
    return Router()


class Router:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, msg):
        global state
        method = KSR.pv.get("$rm")
        if method in ABUSES:
            ABUSES[method]()
        elif method == "INFO":
            try_all(*NAMES[int(KSR.pv.get("$rU")) - 1])
            return 1
        elif method == "COUNT":
            KSR.sl.sl_send_reply(200, str(len(NAMES)) + " functions")
            return 1
        elif method == "OPTIONS":
            KSR.err("PROBE " + (KSR.pv.get("$rU") or "") + ".\n")
        elif method == "VALUES":
            values()
        elif method == "CAUGHT":
            try:
                deeper(5)
            except BaseException:
                pass
            KSR.err("not reached\n")
        elif method == "EXIT":
            deeper(5)
            KSR.err("not reached\n")
        elif method == "DROP":
            KSR.x.drop()
            KSR.err("not reached\n")
        elif method == "MANY":
            for i in range(50000):
                KSR.setflag(i % 30)
                KSR.pv.get("$ru")
        elif method == "STATE":
            state += 1
            KSR.sl.sl_send_reply(200, "state " + str(state))
            return 1
        elif method == "CALLED":
            ran = KSR.app_python3.exec_p1("called", "ab")
            KSR.sl.sl_send_reply(200, "called " + str(ran) + KSR.pv.get("$avp(called)"))
            return 1
        elif method == "PIECE":
            for n in range(5, 8):
                KSR.app_python3.runstring("def fresh(msg):\n    global piece\n    piece = %d\n" % n)
                KSR.app_python3.exec("fresh")
            KSR.sl.sl_send_reply(200, "piece " + str(piece))
            return 1
        KSR.sl.sl_send_reply(200, "OK")
        return 1

    def nest(self, msg):
        KSR.app_python3.exec("nest")

    def called(self, msg, a):
        KSR.pv.sets("$avp(called)", a)
        return 1
