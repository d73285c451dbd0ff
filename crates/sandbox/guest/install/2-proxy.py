# pip's way out: an HTTP proxy on the loopback whose connections are channels of the stream.
MAX_REQUEST_HEAD = 64 << 10
channels = {}
channels_lock = threading.Lock()
last_channel = 0


class Channel:
    """One connection. What comes for it waits in a queue, which the credit that we give bounds."""

    def __init__(self, client, first, tunnel):
        self.client = client
        self.first = first
        self.tunnel = tunnel
        self.queue = queue.Queue()

    def write_on(self, number):
        client = self.client
        try:
            while True:
                kind, body = self.queue.get()
                if kind == b"D":
                    client.sendall(body)
                    send(b"W", number, struct.pack(">I", len(body)))
                elif kind == b"E":
                    client.shutdown(socket.SHUT_WR)
                elif kind == b"O":
                    if self.tunnel:
                        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    if self.first:
                        send(b"D", number, self.first)
                    threading.Thread(target=self.read_on, args=(number,), daemon=True).start()
                elif kind == b"X":
                    drop(number, tell=False)
                    answer(client, "403 Forbidden", body)
                    return
                else:
                    drop(number, tell=False)
                    client.close()
                    return
        except OSError:
            drop(number, tell=True)
            client.close()

    def read_on(self, number):
        try:
            while True:
                data = self.client.recv(1 << 16)
                if not data:
                    send(b"E", number)
                    return
                send(b"D", number, data)
        except OSError:
            drop(number, tell=True)


def drop(number, tell):
    with channels_lock:
        there = channels.pop(number, None)
    if there and tell:
        send(b"R", number)


def answer(client, status, body):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    try:
        client.sendall(head.encode() + body)
        client.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    client.close()


def accept(client):
    global last_channel
    head = b""
    try:
        while b"\r\n\r\n" not in head:
            part = client.recv(1 << 16)
            head += part
            if not part or len(head) > MAX_REQUEST_HEAD:
                client.close()
                return
    except OSError:
        client.close()
        return
    head, rest = head.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    method, target = (lines[0].split(" ") + [""])[:2]
    if method == "CONNECT":
        channel, place = Channel(client, rest, True), target
    else:
        found = re.fullmatch(r"http://([^/?#@]+)(/[^#]*)?", target)
        if not found:
            answer(client, "400 Bad Request", b"not a request to a proxy\n")
            return
        place = found[1] if re.search(r":\d+$", found[1]) else f"{found[1]}:80"
        # One request for each connection: the next one may go elsewhere.
        skipped = re.compile(r"(proxy-[^:]*|connection|keep-alive):", re.I)
        kept = [line for line in lines[1:] if not skipped.match(line)]
        request = [f"{method} {found[2] or '/'} HTTP/1.1", *kept, "Connection: close", "", ""]
        channel = Channel(client, "\r\n".join(request).encode("latin-1") + rest, False)
    with channels_lock:
        last_channel += 1
        number = last_channel
        channels[number] = channel
    threading.Thread(target=channel.write_on, args=(number,), daemon=True).start()
    send(b"O", number, place)


def serve_proxy():
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            client, _ = server.accept()
            threading.Thread(target=accept, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def on_channel(kind, number, body):
    with channels_lock:
        channel = channels.get(number)
    if channel:
        channel.queue.put((kind, body))
