#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
# fake_qemu.py: stands in for QEMU: answers stickvm's questions, then plays the part in $FAKE.
# What it is told is written to $FAKE_LOG, a line each.
import json
import os
import signal
import socket
import sys
import time

argv = sys.argv[1:]
if "--version" in argv:
    print("QEMU emulator version 7.2.22 (fake)")
    sys.exit(0)
if "help" in argv:
    print("Available display backend types:\nnone")
    sys.exit(0)
if "none" in argv and "-M" in argv:
    print("Could not open '/proc/self/no-such-file'", file=sys.stderr)
    sys.exit(1)

part = os.environ["FAKE"]
log = open(os.environ["FAKE_LOG"], "w", buffering=1)


def note(text):
    log.write(text + "\n")


def path_of(chardev):
    for word in argv:
        if "id=" + chardev + "," in word:
            return word[word.index("path=") + 5:].replace(",,", ",")
    raise SystemExit("no chardev " + chardev)


if part == "last-words":
    for i in range(1000):
        print("fake: line %d of many" % i, file=sys.stderr)
    sys.exit(3)
if part == "no-monitor":
    note("up")
    time.sleep(600)

monitor = socket.socket(socket.AF_UNIX)
monitor.connect(path_of("qmp"))
lines = monitor.makefile("r", newline="\n") # writing to it, too, would drop what it has read


def tell(text):
    monitor.sendall(text.encode())


def say(**what):
    tell(json.dumps(what) + "\r\n")


def event(name, **data):
    say(event=name, data=data, timestamp={"seconds": 0, "microseconds": 0})


def io_error(**more):
    data = {"device": "", "node-name": "disk0", "operation": "write", "action": "stop",
            "nospace": False, "reason": "some words"}
    data.update({k.replace("_", "-"): v for k, v in more.items()})
    event("BLOCK_IO_ERROR", **data)


def shutdown(reason):
    event("SHUTDOWN", guest=reason.startswith("guest"), reason=reason)
    sys.exit(0)


MACHINE = b"the machine " * 50000
migration = "none"


def migrate_out(uri):
    out = socket.socket(socket.AF_UNIX)
    out.connect(uri[len("unix:"):])
    out.sendall(MACHINE)
    out.close()
    return "failed" if part == "migrate-fails" else "completed"


def migrate_in(uri, reply):
    door = socket.socket(socket.AF_UNIX)
    door.bind(uri[len("unix:"):])
    door.listen(1)
    reply()
    got = b""
    peer = door.accept()[0]
    while True:
        more = peer.recv(1 << 16)
        if not more:
            break
        got += more
    if got != MACHINE:
        note("not the machine")
        sys.exit(1)
    note("loaded")
    if part == "incoming-dies":
        print("error while loading state", file=sys.stderr)
        sys.exit(1)
    return "active" if part == "incoming-hangs" else "completed"


if part == "rude":
    tell("SSH-2.0-OpenSSH\n")
    time.sleep(600)

say(QMP={"version": {}, "capabilities": []})
presses = conts = 0
for line in lines:
    command = json.loads(line)
    name = command["execute"]
    note(name)
    if part == "deaf" and name in ("quit", "system_powerdown"):
        continue # no reply, ever
    answers = {"query-status": {"status": "running"}, "query-migrate": {"status": migration}}

    def reply():
        say(**{"return": answers.get(name, {})}, id=command["id"])

    if name == "migrate-incoming":
        migration = migrate_in(command["arguments"]["uri"], reply)
        continue
    reply()
    if name == "migrate":
        migration = migrate_out(command["arguments"]["uri"])
    if name == "query-status" and part in ("errors", "fails"):
        io_error(**{"node_name": "cd0"})
        io_error()
        event("STOP")
    if name == "query-status" and part == "reported":
        io_error(action="report", operation="read")
        time.sleep(1)
        shutdown("guest-shutdown")
    if name == "query-status" and part == "host-signal":
        shutdown("host-signal")
    if name == "query-status" and part == "closes":
        lines.close()
        monitor.close()
        signal.pause()
    if name == "cont":
        conts += 1
        event("RESUME")
        if conts < 3 or part == "fails":
            io_error()
            event("STOP")
        elif part == "errors":
            time.sleep(4)
            shutdown("guest-shutdown")
    if name == "system_powerdown":
        presses += 1
        if presses == 2 and part == "second-press":
            shutdown("guest-shutdown")
    if name == "quit":
        shutdown("host-qmp-quit")
