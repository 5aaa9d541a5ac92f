"""The client of `aiohttp`, from PyPI. For the protocol see `answering`."""
import asyncio

import aiohttp
from aiohttp import WSMsgType

from answering import pack, serve, unpack

DONE = {"done": True}


class Client:
    socket = None

    def __init__(self, http):
        self.http = http

    async def answer(self, request):
        match request:
            case {"do": "connect", "url": url}:
                # Compression is offered; pings and pongs are returned by `receive`.
                self.socket = await self.http.ws_connect(url, compress=15, autoping=False)
                return DONE
            case {"do": "send", "message": message}:
                message = unpack(message)
                send = self.socket.send_str if isinstance(message, str) else self.socket.send_bytes
                await send(message)
                return DONE
            case {"do": "receive"}:
                return await self.receive()
            case {"do": "ping", "text": text}:
                await self.socket.ping(text.encode())
                return await self.receive()
            case {"do": "close", "code": code, "reason": reason}:
                await self.socket.close(code=code or 1000, message=reason.encode())
                return {"closed": [self.socket.close_code, None]}  # It stores no reason.

    async def receive(self):
        while True:
            received = await self.socket.receive()
            match received.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    return {"message": pack(received.data)}
                case WSMsgType.PING:
                    await self.socket.pong(received.data)
                case WSMsgType.PONG:
                    return {"pong": received.data.decode()}
                case WSMsgType.CLOSE:
                    return {"closed": [received.data, received.extra]}
                case _:
                    return {"failed": repr(received)}


async def main():
    async with aiohttp.ClientSession() as http:
        greeting = {"client": f"aiohttp {aiohttp.__version__}", "can": ["ping"]}
        await serve(greeting, Client(http).answer)


asyncio.run(main())
