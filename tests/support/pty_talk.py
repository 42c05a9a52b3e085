# SPDX-License-Identifier: GPL-2.0-or-later
# pty_talk.py: a program on a terminal of its own: expect, send, wait.
import os
import pty
import re
import select
import sys
import time


class Talk:
    def __init__(self, *argv):
        self.text = b""
        self.all = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(argv[0], argv)

    def pump(self, seconds):
        """Reads for a while; False once the terminal is closed."""
        end = time.time() + seconds
        while True:
            left = end - time.time()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                return True
            try:
                got = os.read(self.fd, 4096)
            except OSError:
                return False
            if not got:
                return False
            self.text += got
            self.all += got

    def fail(self, what):
        sys.stderr.write("FAILED: %s; on the terminal:\n%s\n" % (
            what, self.all.decode(errors="replace")))
        try:
            os.kill(self.pid, 15)
            time.sleep(3)
            os.kill(self.pid, 9)
        except OSError:
            pass
        sys.exit(1)

    def expect(self, pattern, seconds=120):
        """Waits for a pattern, and forgets what came up to its end."""
        end = time.time() + seconds
        open_yet = True
        while True:
            match = re.search(pattern, self.text)
            if match:
                self.text = self.text[match.end():]
                return match
            if not open_yet or time.time() > end:
                self.fail("no %r" % pattern)
            open_yet = self.pump(0.2)

    def send(self, data):
        os.write(self.fd, data)

    def wait(self, seconds=120):
        """The exit status."""
        end = time.time() + seconds
        while time.time() < end:
            self.pump(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        self.fail("it did not end")
        return None

    def ends(self, status, seconds=120):
        got = self.wait(seconds)
        if got != status:
            self.fail("it ended with %s, not %s" % (got, status))
