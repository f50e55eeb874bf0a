"""Runs a sweep in a network namespace of its own, where every address leads to a listener that counts.

There is loopback alone; the addresses of metadata services and of the name servers are put on it, and
what is sent to them is counted. Prints `{"outcome": ..., "caught": [...]}`.
"""

import fcntl
import json
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

METADATA = "169.254.169.254"
SIOCSIFADDR, SIOCSIFFLAGS, UP = 0x8916, 0x8914, 0x1


def set_up(name, address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        place = socket.inet_aton(address)
        request = struct.pack("16sH2s4s8s", name.encode(), socket.AF_INET, b"", place, b"")
        fcntl.ioctl(control, SIOCSIFADDR, request)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14s", name.encode(), UP, b""))


def name_servers():
    file = Path("/etc/resolv.conf")
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    found = [words[1] for words in lines if words[:1] == ["nameserver"]]
    return [address for address in found if "." in address and not address.startswith("127.")]


caught = []
set_up("lo", "127.0.0.1")
for number, address in enumerate([METADATA, *name_servers()]):
    set_up(f"lo:{number}", address)


def listen(kind, address, port, what):
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind((address, port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        while True:
            if kind == socket.SOCK_STREAM:
                server.accept()[0].close()
            else:
                server.recvfrom(4096)
            caught.append(what)


traps = [(socket.SOCK_STREAM, METADATA, 80, "metadata")]
traps += [(socket.SOCK_DGRAM, address, 53, "name") for address in name_servers() or ["127.0.0.1"]]
for trap in traps:
    threading.Thread(target=listen, args=trap, daemon=True).start()
done = subprocess.run([sys.executable, *sys.argv[1:]], capture_output=True, text=True, check=False)
print(json.dumps({"code": done.returncode, "out": done.stdout, "err": done.stderr[-2000:], "caught": caught}))
