"""Download a file in a child process, which ends itself when too little of the file arrives.

Looking up a server's name can hang in a call that no timeout stops; ending the process does.
"""

import signal
import subprocess
import sys
import urllib.request

from tqdm import tqdm

from mnist_nb.errors import DataError

# give up when fewer than STALL_BYTES arrive within STALL_SECONDS
STALL_SECONDS = 5
STALL_BYTES = 64 * 1024
LARGEST = 1000 * STALL_BYTES


def download(url: str) -> bytes:
    """Return the content at `url`; show a progress bar on a terminal.

    Raises:
        DataError: the content came too slowly, is too large, or did not come at all.
    """
    command = [sys.executable, "-P", "-m", "mnist_nb.download", url, str(STALL_SECONDS)]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode == -signal.SIGALRM:
        raise DataError(f"fewer than {STALL_BYTES:,} bytes arrived within {STALL_SECONDS} s")
    if done.returncode:  # the last line says why
        raise DataError(
            done.stdout.decode(errors="replace").rpartition("\n")[2]
            or f"the download process ended with code {done.returncode}"
        )
    return done.stdout


def _child(url: str, stall_seconds: int) -> None:
    """Write the content at `url` to stdout; SIGALRM ends this process when it stalls."""
    for number in (signal.SIGALRM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)  # ends it without a word, even in a call that hangs
    signal.alarm(stall_seconds)
    with urllib.request.urlopen(url) as response:
        bar = {"total": response.length, "desc": url.rpartition("/")[2], "disable": None}
        with tqdm.wrapattr(response, "read", **bar) as file:
            for _ in range(LARGEST // STALL_BYTES):
                if not (chunk := file.read(STALL_BYTES)):
                    return
                signal.alarm(stall_seconds)
                sys.stdout.buffer.write(chunk)
    raise ValueError(f"the file has more than {LARGEST:,} bytes")


if __name__ == "__main__":
    try:
        _child(sys.argv[1], int(sys.argv[2]))
    except Exception as error:
        print("\n" + (" ".join(str(error).split()) or type(error).__name__), end="")
        sys.exit(1)
