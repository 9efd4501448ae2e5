"""What answers at the address of a Prefect server and is none is told in one line."""

import socket
import threading

import pytest

from flows.preflight import PreflightError, check_api


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", "no Prefect server answers: SSH-2.0", id="another protocol"),
        pytest.param(b"", "no Prefect server answers: Remote end closed", id="closed at once"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, "no Prefect server answers: got more", id="no end"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the server answers 404", id="a page"),
    ],
)
def test_an_answer_of_something_else(reply, says):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        with pytest.raises(PreflightError, match=f"^{url}: {says}[^\n]*$"):
            check_api(url, {})
