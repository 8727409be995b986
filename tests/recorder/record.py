#!/usr/bin/env python3
"""Records what Kamailio says to the table of pseudo-variables and transformations.

Reads tests/recorded/cases.txt and messages.txt, starts a Kamailio on the loopback, sends one message
per case and writes tests/recorded/values.tsv. The behaviour test `pseudo_variables` asks Olelo the
same and compares. Run it again whenever cases are added:

    tests/recorder/record.py [--kamailio /usr/sbin/kamailio] [--only GROUP] [--show]

Cases are in groups:

    [group]
    message = invite            which message; may come again and holds for what follows
    setup = sets("$var(x)", "a")    Lua that runs first; holds until the next `setup =`
    input = "some\\r\\ntext"    Lua string; each expression with % in it is asked for every input
    inputs =                    forgets the inputs
    expr = $(var(x){s.len})     what is asked; % stands for the variable that holds the input
    lua = return 1 + 1          Lua that returns the value itself
    check = REGEX               the next case's value differs by time or machine: it must match this

Ports differ from run to run: they are written as @RP@ (the server's) and @SP@ (the client's).
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "recorded"

MODULES = """kex corex tm tmx sl rr pv maxfwd usrloc registrar textops textopsx siputils xlog sanity
ctl cfg_rpc kemix counters htable auth nathelper ipops regex cfgutils mqueue xhttp jsonrpcs app_lua""".split()

# Configuration that both servers get; the test reads it from here too.
SETTINGS = DATA / "settings.cfg"


class Case:
    def __init__(self, group, message, setup, expr, check):
        self.group, self.message, self.setup, self.expr, self.check = group, message, setup, expr, check
        self.kind, self.value, self.refused = "none", b"", False


def read_cases(path):
    cases, group, message, setup, inputs, check = [], "", "invite", "", [], ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            group, message, setup, inputs, check = line.strip("[] "), "invite", "", [], ""
            continue
        key, _, rest = line.partition("=")
        key, rest = key.strip(), rest.strip()
        if key == "message":
            message = rest
        elif key == "setup":
            setup = rest
        elif key == "input":
            inputs.append(rest)
        elif key == "inputs":
            inputs = []
        elif key == "check":
            check = rest
        elif key == "expr" and "%" in rest and inputs:
            for i in inputs:
                one = "unset(\"$vn(in)\")" if i == "nil" else (
                    f'seti("$vn(in)", {i})' if re.fullmatch(r"-?\d+", i) else f'sets("$vn(in)", {i})')
                cases.append(Case(group, message, (setup + " " + one).strip(), rest.replace("%", "vn(in)"), check))
            check = ""
        elif key == "expr":
            cases.append(Case(group, message, setup, rest, check))
            check = ""
        elif key == "lua":
            cases.append(Case(group, message, (setup + " " + rest).strip(), "", check))
            check = ""
        else:
            sys.exit(f"{path}:{number}: no such key: {key}")
    return cases


def read_messages(path):
    messages, name = {}, None
    for line in path.read_text().splitlines():
        if line.startswith("=== "):
            name = line[4:].strip()
            messages[name] = []
        elif name is not None:
            messages[name].append(line)
    for name, lines in messages.items():
        text = "\r\n".join(lines) + "\r\n"
        head, _, body = text.partition("\r\n\r\n")
        messages[name] = head.replace("@CL@", str(len(body))) + "\r\n\r\n" + body
    return messages


def lua_string(text):
    return '"' + "".join(c if c.isalnum() and c.isascii() else "".join(f"\\{b:03d}" for b in c.encode())
                         for c in text) + '"'


def escaped(text):
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def shown(value):
    """Bytes as printable text: everything else as \\xNN."""
    out = []
    for b in value:
        c = chr(b)
        out.append({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(c, c if 32 <= b < 127 else f"\\x{b:02x}"))
    return "".join(out)


def free_port():
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            # Five digits: lengths of texts with ports in them are the same in every run.
            if s.getsockname()[1] > 9999:
                return s.getsockname()[1]


def run(cases, messages, program, verbose):
    with tempfile.TemporaryDirectory(prefix="record-") as tmp:
        tmp = Path(tmp)
        port = free_port()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind(("127.0.0.1", free_port()))
        sport = client.getsockname()[1]
        results = tmp / "results"
        results.touch()
        fill = lambda t, n: t.replace("@RP@", str(port)).replace("@SP@", str(sport)).replace("@CASE@", n)
        with open(tmp / "cases.lua", "w") as f:
            f.write("CASES = {}\n")
            for i, c in enumerate(cases):
                n = f"{i:05d}"
                f.write(f'CASES["{n}"] = {{ {lua_string(fill(c.setup, n))}, {lua_string(c.expr)} }}\n')
        script = (HERE / "table.lua").read_text().replace("@CASES@", str(tmp / "cases.lua")).replace("@RESULTS@", str(results))
        (tmp / "table.lua").write_text(script)
        load = "".join(f'loadmodule "{m}.so"\n' for m in MODULES)
        (tmp / "record.cfg").write_text(
            "#!KAMAILIO\n#!define TABLE_WORD a word\n#!define TABLE_NUMBER 42\n"
            f"debug=1\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\nalias=\"test.local\"\nlisten=udp:127.0.0.1:{port}\n"
            + load + f'modparam("ctl", "binrpc", "unix:{tmp}/ctl")\nmodparam("jsonrpcs", "transport", 0)\n'
            + 'modparam("xhttp", "event_callback", "ksr_xhttp_event")\n'
            + f'modparam("app_lua", "load", "{tmp}/table.lua")\n'
            + SETTINGS.read_text() + 'cfgengine "lua"\n')
        log = open(tmp / "log", "wb")
        server = None
        try:
            for i, c in enumerate(cases):
                logged = os.path.getsize(tmp / "log")
                if c.message not in messages:
                    sys.exit(f"no message {c.message}")
                if server is None or server.poll() is not None:
                    server = start(program, tmp, log)
                data = fill(messages[c.message], f"{i:05d}").encode()
                for attempt in range(100):
                    client.sendto(data, ("127.0.0.1", port))
                    # It takes a moment to start; a message before that is lost.
                    if wait(results, f"{i:05d} ", server, 0.3):
                        with open(tmp / "log", "rb") as f:
                            f.seek(logged)
                            c.refused = b"cannot get pv spec" in f.read()
                        break
                    if server.poll() is not None:
                        if i == 0:
                            sys.exit("the server doesn't start:\n" + (tmp / "log").read_text(errors="replace")[-3000:])
                        c.kind = "crash"
                        print(f"{c.expr} ends the server, with: {c.setup}", file=sys.stderr)
                        break
                else:
                    print((tmp / "log").read_text(errors="replace")[-3000:], file=sys.stderr)
                    sys.exit(f"no answer to {c.message}, {c.expr} with {c.setup}; --log may show why")
            lines = results.read_text().splitlines()
        finally:
            if server:
                server.terminate()
                server.wait(10)
            log.close()
            if verbose:
                sys.stderr.write((tmp / "log").read_text(errors="replace"))
        for line in lines:
            n, kind, value = line.split(" ")
            value = bytes.fromhex(value)
            value = value.replace(str(port).encode(), b"@RP@").replace(str(sport).encode(), b"@SP@")
            # A name or text that this Kamailio doesn't know is another matter than no value.
            missing = cases[int(n)].refused or b"attempt to call field" in value
            cases[int(n)].kind = "unparsed" if missing else kind
            cases[int(n)].value = value


def start(program, tmp, log):
    env = dict(os.environ, TABLE_ENV="from the environment", TZ="Europe/Berlin")
    return subprocess.Popen([program, "-f", str(tmp / "record.cfg"), "-DD", "-E", "-m", "64", "-M", "16", "-Y", str(tmp)],
                            stdout=log, stderr=log, env=env)


def wait(results, begins, server, seconds):
    """Whether the last line of the results becomes one that begins so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(results, "rb") as f:
            f.seek(0, os.SEEK_END)
            # The kinds and numbers are short, a value may be long: look for the line's start.
            f.seek(max(0, f.tell() - 200_000))
            lines = f.read().decode().splitlines(keepends=True)
        if lines and lines[-1].startswith(begins) and lines[-1].endswith("\n"):
            return True
        if server.poll() is not None:
            return False
        time.sleep(0.0005)
    return False


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--kamailio", default="/usr/sbin/kamailio")
    p.add_argument("--cases", default=str(DATA / "cases.txt"))
    p.add_argument("--only", help="groups that begin so; writes nothing")
    p.add_argument("--log", action="store_true", help="print the server's log")
    a = p.parse_args()
    cases = [c for c in read_cases(Path(a.cases)) if not a.only or c.group.startswith(a.only)]
    run(cases, read_messages(DATA / "messages.txt"), a.kamailio, a.log)
    version = subprocess.run([a.kamailio, "-v"], capture_output=True, text=True).stdout.split("\n")[0]
    rows = [f"# Recorded by tests/recorder/record.py from {version}. Not edited by hand.",
            "# group\tmessage\tsetup\texpression\tcheck\ttype\tvalue"]
    for c in cases:
        rows.append("\t".join([c.group, c.message, escaped(c.setup), escaped(c.expr), c.check, c.kind, shown(c.value)]))
    text = "\n".join(rows) + "\n"
    if a.only or a.cases != str(DATA / "cases.txt"):
        print(text)
    else:
        (DATA / "values.tsv").write_text(text)
        print(f"{len(cases)} cases, {sum(c.kind == 'none' for c in cases)} without an answer")


main()
