"""Run a command that can write in some folders and only there: `sockets_only.py COMMAND...`.

The folder of the kernel's sockets is on the machine's disk, which files or nested folders could
fill. Landlock, a part of Linux since 5.13, forbids the command and all that it starts to make or
write files and folders outside `WRITABLE`; sockets are not affected. `containment` runs this
file alone, in the sandbox.
"""

import ctypes
import os
import struct
import sys

WRITABLE = ("/tmp", "/dev", "/proc")
# the numbers of Linux on all processors, from linux/landlock.h and linux/prctl.h
CREATE, ADD, RESTRICT = 444, 445, 446
PATH_BENEATH, NO_NEW_PRIVILEGES = 1, 38
WRITE = 1 << 1
# a device, folder, file, pipe, block device and link; not 1 << 9, a socket
MAKE = 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12


def main(command: list[str]) -> None:
    """Give up writing outside `WRITABLE`, then become `command`."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(*arguments) -> int:
        if (result := libc.syscall(*arguments)) < 0:
            said = os.strerror(ctypes.get_errno())
            sys.exit(f"Landlock, a part of Linux since 5.13, does not work here: {said}")
        return result

    handled = ctypes.create_string_buffer(struct.pack("=Q", WRITE | MAKE), 8)
    rules = call(CREATE, handled, ctypes.c_size_t(8), 0)
    for place in WRITABLE:
        folder = os.open(place, os.O_PATH | os.O_CLOEXEC)
        allowed = ctypes.create_string_buffer(struct.pack("=Qi", WRITE | MAKE, folder), 12)
        call(ADD, rules, PATH_BENEATH, allowed, 0)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        sys.exit("privileges cannot be given up here")
    call(RESTRICT, rules, 0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
