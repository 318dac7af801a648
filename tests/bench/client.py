"""An MQTT 3.1.1 client for one connection, whose every step can be timed. Nothing waits but what says so."""

import select
import socket
import struct
import time

PATIENCE = 30


class Client:
    def __init__(self, address, client_id, is_persistent=False):
        """Opens the socket; `connect` says hello."""
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client_id, self.is_persistent = client_id.encode(), is_persistent
        self.unread, self.ids = b"", 0
        #: (topic, payload) of what has come.
        self.messages = []

    def connect(self):
        """Whether the session was there."""
        flags = 0 if self.is_persistent else 2
        body = b"\0\4MQTT\4" + bytes([flags]) + b"\0\0" + text(self.client_id)
        self.socket.sendall(packet(0x10, body))
        connack = self.wait(2)
        if connack[1] != 0:
            raise SystemExit(f"refused: {connack[1]}")
        return connack[0] == 1

    def next_id(self):
        self.ids = self.ids % 65_535 + 1
        return struct.pack(">H", self.ids)

    def ask_subscribe(self, topic, qos=0):
        self.socket.sendall(packet(0x82, self.next_id() + text(topic.encode()) + bytes([qos])))

    def subscribe(self, topic, qos=0):
        self.ask_subscribe(topic, qos)
        self.wait(9)

    def unsubscribe(self, topic):
        self.socket.sendall(packet(0xA2, self.next_id() + text(topic.encode())))
        self.wait(11)

    def publish(self, topic, payload, qos=0, retain=False):
        """At QoS 1 it waits for the PUBACK."""
        number = self.next_id() if qos else b""
        self.socket.sendall(packet(0x30 | qos << 1 | retain, text(topic.encode()) + number + payload))
        if qos:
            self.wait(4)

    def poll(self, seconds=0.0):
        """Takes what comes within that time; the kinds of packets, and the last body."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return []
        came = self.socket.recv(65_536)
        if not came:
            raise SystemExit(f"{self.client_id} was closed")
        self.unread += came
        return list(self.packets())

    def packets(self):
        while len(self.unread) >= 2:
            length, at, shift = 0, 1, 0
            while True:
                if at == len(self.unread):
                    return
                byte = self.unread[at]
                length |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    break
            if len(self.unread) < at + length:
                return
            first, body = self.unread[0], self.unread[at : at + length]
            self.unread = self.unread[at + length :]
            if first >> 4 == 3:
                self.take(first >> 1 & 3, body)
            yield first >> 4, body

    def take(self, qos, body):
        end = 2 + struct.unpack_from(">H", body)[0]
        self.messages.append((body[2:end].decode(), body[end + (2 if qos else 0) :]))
        if qos:
            self.socket.sendall(packet(0x40, body[end : end + 2]))

    def wait(self, kind):
        """The body of the next packet of that kind."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for came, body in self.poll(1.0):
                if came == kind:
                    return body
        raise SystemExit(f"{self.client_id}: no packet {kind} in {PATIENCE} s")

    def close(self):
        self.socket.close()


def connected(address, client_id, is_persistent=False):
    client = Client(address, client_id, is_persistent)
    client.connect()
    return client


def text(value):
    return struct.pack(">H", len(value)) + value


def packet(first, body):
    length, encoded = len(body), b""
    while True:
        length, low = length >> 7, length & 127
        encoded += bytes([low | (128 if length else 0)])
        if not length:
            return bytes([first]) + encoded + body
