#!/usr/bin/env python3
"""Records what statements and expressions of the native language come to in Kamailio.

Routes three requests by tests/recorded/native.cfg and writes the lines that begin with @@ to
tests/recorded/native.txt. The behaviour test `native_values` routes the same with Olelo. Run it again
whenever native.cfg has changed:

    tests/recorder/native.py [--kamailio /usr/sbin/kamailio]
"""

import argparse
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "recorded"
MODULES = "kex corex tm sl pv xlog textops textopsx siputils maxfwd cfgutils"


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def config(port, scratch):
    lines = ["#!KAMAILIO", "debug=2", "log_stderror=yes", "children=1", "disable_tcp=yes",
             f"listen=udp:127.0.0.1:{port}", "auto_aliases=no", 'alias="test.local"']
    lines += [f'loadmodule "{m}.so"' for m in MODULES.split()]
    path = Path(scratch) / "native.cfg"
    path.write_text("\n".join(lines) + f'\ninclude_file "{DATA / "native.cfg"}"\n')
    return path


def ask(server, user):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(5)
        me = s.getsockname()[1]
        s.sendto((f"OPTIONS sip:{user}@test.local SIP/2.0\r\n"
                  f"Via: SIP/2.0/UDP 127.0.0.1:{me};branch=z9hG4bK{user}\r\n"
                  f"From: <sip:bob@test.local>;tag=1\r\nTo: <sip:{user}@test.local>\r\n"
                  f"Call-ID: {user}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
                  f"Content-Length: 0\r\n\r\n").encode(), ("127.0.0.1", server))
        try:
            s.recv(65536)
        except TimeoutError:
            pass  # a block that ends with exit answers nothing


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--kamailio", default="/usr/sbin/kamailio")
    args = args.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with open(log, "wb") as out:
            server = subprocess.Popen([args.kamailio, "-f", str(config(port, scratch)), "-DD", "-E", "-m", "32",
                                       "-M", "8", "-P", f"{scratch}/pid", "-Y", scratch, "-w", scratch],
                                      stdout=out, stderr=subprocess.STDOUT)
        time.sleep(1.5)
        if server.poll() is not None:
            raise SystemExit(log.read_text(errors="replace"))
        for user in ("alice", "bob", "carol"):
            ask(port, user)
        server.terminate()
        server.wait(10)
        text = log.read_bytes().decode("utf-8", "replace")
    lines = [re.sub(r"^.*?@@", "@@", line) for line in text.splitlines() if "@@" in line]
    (DATA / "native.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} lines")


if __name__ == "__main__":
    main()
