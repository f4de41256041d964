"""A server that never says its last byte, and sends each one soon enough for a timeout of one read."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"
WHERE = {
    "in a header": (HEAD + b"X-Slow: ", b"x"),
    "between headers": (HEAD, b"X-Slow: x\r\n"),
    "in the body": (HEAD + b"Content-Length: 1000000\r\n\r\n\xff\xd8\xff", b"x"),
    "in the size of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
}


@contextmanager
def dripping(first: bytes, again: bytes, every_s: float = 0.05) -> Iterator[str]:
    """The address of a server that answers with `first` and then with `again`, over and over."""
    ending = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            for sent in chain([first], repeat(again)):
                connection.sendall(sent)
                if ending.wait(every_s):
                    return

    def listen() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=listen, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ending.set()
            server.shutdown(socket.SHUT_RDWR)
