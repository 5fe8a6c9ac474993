"""Send messages of JSON and raw bytes over a socket, and receive them within limits."""

import json
import socket
import struct
import time

_HEAD = struct.Struct(">QQ")
LARGEST = 256 << 20  # raw bytes of a message
_JSON = 64 << 20  # bytes of its JSON, besides


class WireError(Exception):
    """A message is not what it should be."""


def send(channel: socket.socket, message: dict, blobs: list[bytes] = ()) -> None:
    """Send a message; raise OSError if nobody is there to read it."""
    text = json.dumps(message).encode()
    channel.sendall(b"".join([_HEAD.pack(len(text), sum(map(len, blobs))), text, *blobs]))


def receive(channel: socket.socket, seconds: float | None = None) -> tuple[dict, bytes]:
    """Return the next message and its bytes.

    Raises:
        EOFError: the other process has ended.
        TimeoutError: nothing came, or only a part, for `seconds`.
        WireError: it is too large, or no message.
    """
    end = None if seconds is None else time.monotonic() + seconds
    text, raw = _HEAD.unpack(_exactly(channel, _HEAD.size, end))
    if text > _JSON or raw > LARGEST:
        raise WireError(f"it sent {(text + raw) >> 20} MiB at once, which is more than "
                        f"{_JSON >> 20} MiB of text or {LARGEST >> 20} MiB of data")  # fmt: skip
    try:
        message = json.loads(_exactly(channel, text, end))
    except (ValueError, RecursionError) as error:
        raise WireError("it sent something that is no message") from error
    if not isinstance(message, dict):
        raise WireError("it sent something that is no message")
    return message, _exactly(channel, raw, end)


def _exactly(channel: socket.socket, size: int, end: float | None) -> bytes:
    got = bytearray()
    while len(got) < size:
        if end is not None:
            channel.settimeout(max(0.001, end - time.monotonic()))
        part = channel.recv(min(1 << 20, size - len(got)))
        if not part:
            raise EOFError
        got += part
    channel.settimeout(None)
    return bytes(got)
