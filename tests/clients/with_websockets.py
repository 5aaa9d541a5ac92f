"""The client of `websockets`, from PyPI. For the protocol see `answering`."""
import asyncio

import websockets

from answering import pack, pieces, serve, unpack

DONE = {"done": True}


class Client:
    socket = None

    async def answer(self, request):
        match request:
            case {"do": "connect", "url": url}:
                self.socket = await websockets.connect(url, proxy=None)
                return DONE
            case {"do": "send", "message": message}:
                await self.socket.send(unpack(message))
                return DONE
            case {"do": "fragments", "message": message, "cuts": cuts}:
                message = unpack(message)
                await self.socket.send(pieces(message, cuts), text=isinstance(message, str))
                return DONE
            case {"do": "receive"}:
                try:
                    return {"message": pack(await self.socket.recv())}
                except websockets.ConnectionClosed:
                    return self.closed()
            case {"do": "ping", "text": text}:
                await (await self.socket.ping(text))  # Done by a pong with the same payload.
                return {"pong": text}
            case {"do": "close", "code": code, "reason": reason}:
                await self.socket.close(code or 1000, reason)
                return self.closed()

    def closed(self):
        return {"closed": [self.socket.close_code, self.socket.close_reason]}


greeting = {"client": f"websockets {websockets.__version__}", "can": ["fragments", "ping"]}
asyncio.run(serve(greeting, Client().answer))
