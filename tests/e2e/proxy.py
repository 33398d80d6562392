# SPDX-License-Identifier: MIT
"""A network that fails: a TCP proxy in front of a server that holds back,
delays, refuses or cuts off what passes, as a test says."""

import asyncio
import contextlib
import socket
import threading

UP, DOWN = "up", "down"  # to the server, to the client


class Proxy:
    """
    While a direction is cut, nothing of it passes and nobody is told: bytes
    are held like packets that are sent again and again. heal() lets them pass,
    late; heal(reset=True) ends the connections that saw the cut instead, as a
    peer does that has given up.
    """

    def __init__(self, port):
        self.target = port
        self._open = {}  # direction -> event: it passes
        self._delay = 0
        self._refused = None
        self._pairs = set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        ready.wait()

    # What tests call, from any thread.

    def cut(self, *directions):
        """Let nothing pass, in both directions or in these."""
        for direction in directions or (UP, DOWN):
            self._do(self._open[direction].clear)

    def heal(self, reset=False):
        def work():
            for event in self._open.values():
                if reset and not event.is_set():
                    self._abort_all()
                event.set()
            self._delay = 0
        self._do(work)

    def delay(self, seconds):
        """Hold every piece back for so long."""
        self._do(lambda: setattr(self, "_delay", seconds))

    def refuse(self, text):
        """End each connection that sends this; None: no more."""
        self._do(lambda: setattr(self, "_refused", text and text.encode()))

    def close(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()

    # In the thread.

    def _do(self, work):
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))
        done.wait(10)

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready):
        self._ending = asyncio.Event()
        self._open = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        for event in self._open.values():
            event.set()
        server = await asyncio.start_server(self._pair, sock=self._socket)
        ready.set()
        await self._ending.wait()
        server.close()
        self._abort_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _abort_all(self):
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()

    async def _pair(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pass(reader, far_writer, UP, pair),
                self._pass(far_reader, writer, DOWN, pair))
        finally:
            self._pairs.discard(pair)
            for end in pair:
                end.close()

    async def _pass(self, reader, writer, direction, pair):
        """Until its end, which the other side is told as late as all else."""
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(65536)
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._open[direction].wait()
                if not data:
                    break
                refused = direction == UP and self._refused
                if refused and refused in data:
                    for end in pair:
                        end.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
            writer.write_eof()
