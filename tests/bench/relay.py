"""What a cluster's nodes dial instead of each other, so that one of them can be cut off. Nothing is closed by a cut: bytes
of streams wait, and datagrams are lost. Nodes dial from the address they bind, which tells who comes."""

import asyncio
import threading


class Relays:
    """A front for each node, in a thread of its own. Give a node `settings` at its start, and say where it is after."""

    def __init__(self, size):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.open = asyncio.Event()
        self.cut_off = None
        self.fronts = [self.call(self.front(number)) for number in range(size)]

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def settings(self, number):
        return {"cluster.bind": f"{address(number)}:0", "cluster.advertise": f"127.0.0.1:{self.fronts[number]['port']}"}

    def leads_to(self, number, where):
        self.fronts[number]["to"] = (address(number), int(where.rsplit(":", 1)[1]))

    def cut(self, number):
        """Between this node and all others, both ways."""
        async def change():
            self.cut_off, self.open = number, asyncio.Event()
        self.call(change())

    def heal(self):
        async def change():
            self.cut_off = None
            self.open.set()
        self.call(change())

    def is_cut(self, number, peer):
        return self.cut_off is not None and (self.cut_off == number or peer == address(self.cut_off))

    async def front(self, number):
        front = {"to": None}
        server = await asyncio.start_server(lambda reader, writer: self.stream(number, reader, writer), "127.0.0.1", 0)
        front["server"], front["port"] = server, server.sockets[0].getsockname()[1]
        make = lambda: Datagrams(self, number, front)  # noqa: E731
        await self.loop.create_datagram_endpoint(make, local_addr=("127.0.0.1", front["port"]))
        return front

    async def stream(self, number, near_reads, near_writes):
        peer = near_writes.get_extra_info("peername")[0]
        try:
            await self.passing(number, peer)
            far_reads, far_writes = await asyncio.open_connection(*self.fronts[number]["to"])
            await asyncio.gather(
                self.copy(number, peer, near_reads, far_writes), self.copy(number, peer, far_reads, near_writes)
            )
        except (OSError, TypeError):
            near_writes.close()

    async def copy(self, number, peer, reads, writes):
        while data := await reads.read(65_536):
            await self.passing(number, peer)
            writes.write(data)
            await writes.drain()
        await self.passing(number, peer)
        writes.close()

    async def passing(self, number, peer):
        while self.is_cut(number, peer):
            await self.open.wait()


class Datagrams(asyncio.DatagramProtocol):
    """Each sender gets a socket of its own towards the node, so that answers find back."""

    def __init__(self, relays, number, front):
        self.relays, self.number, self.front, self.ways = relays, number, front, {}

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        if not self.relays.is_cut(self.number, sender[0]) and self.front["to"]:
            self.relays.loop.create_task(self.on(data, sender))

    async def on(self, data, sender):
        if sender not in self.ways:
            self.ways[sender] = None  # being opened: a datagram may be lost
            back = lambda: Back(self, sender)  # noqa: E731
            opened = await self.relays.loop.create_datagram_endpoint(back, remote_addr=self.front["to"])
            self.ways[sender] = opened[0]
        if self.ways[sender]:
            self.ways[sender].sendto(data)


class Back(asyncio.DatagramProtocol):
    def __init__(self, datagrams, sender):
        self.datagrams, self.sender = datagrams, sender

    def datagram_received(self, data, _):
        if not self.datagrams.relays.is_cut(self.datagrams.number, self.sender[0]):
            self.datagrams.transport.sendto(data, self.sender)

    def error_received(self, _):
        pass  # the node is gone, or not there yet


def address(number):
    return f"127.67.0.{number + 1}"
