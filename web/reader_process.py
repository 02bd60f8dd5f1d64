"""A process that reads films (film_reader.py), started when needed and ended when idle."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from web.answers import ApiError
from web.film_process import environment
from web.film_reader import Answer, Ask

READER = (sys.executable, "-m", "web.film_reader")
_LONGEST_LINE = 1 << 20


class ReaderProcess:
    """Answers one request at a time.

    patience_s   seconds that an answer may take; after that the process is ended, and the film is to blame
    idle_s       seconds without a request after which the process is ended, since it holds a film open
    waiting      most requests that may wait
    """

    def __init__(
        self, patience_s: float, idle_s: float = 60.0, waiting: int = 64, command: Sequence[str] = READER
    ) -> None:
        self._command, self._patience_s, self._idle_s, self._most = command, patience_s, idle_s, waiting
        self._turn = asyncio.Lock()
        self._asking = 0
        self._process: asyncio.subprocess.Process | None = None
        self._ended: list[asyncio.subprocess.Process] = []
        self._idle: asyncio.TimerHandle | None = None

    async def ask(self, asked: Ask) -> tuple[Answer, list[bytes]]:
        """The answer, and the parts that follow it.

        Raises ApiError: 422 the film cannot be read, 503 too many requests wait.
        """
        if self._asking >= self._most:
            raise ApiError(503, "too many pictures are requested at once: try again soon", {"Retry-After": "1"})
        self._asking += 1
        try:
            async with self._turn:
                answer, parts = await self._asked(asked)
        finally:
            self._asking -= 1
        if answer.error is not None:
            raise ApiError(422, answer.error)
        return answer, parts

    async def close(self) -> None:
        """End the process."""
        self._end()
        for process in self._ended:
            await process.wait()

    async def _asked(self, asked: Ask) -> tuple[Answer, list[bytes]]:
        if self._idle is not None:
            self._idle.cancel()
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._exchanged(await self._started(), asked)
        except TimeoutError as error:
            self._end()
            raise ApiError(422, f"the film cannot be read within {self._patience_s:g} s") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self._end()
            raise ApiError(422, "the film cannot be read: its data crashed the process that tried") from error
        except BaseException:  # half an answer is still to come
            self._end()
            raise
        finally:
            if self._process is not None:
                self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment(),
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        return self._process

    async def _exchanged(self, process: asyncio.subprocess.Process, asked: Ask) -> tuple[Answer, list[bytes]]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(asked) + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readuntil()
        answer = msgspec.json.decode(line, type=Answer)
        return answer, [await process.stdout.readexactly(size) for size in answer.sizes]

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is not None:
            self._ended = [each for each in self._ended if each.returncode is None] + [process]
            with suppress(ProcessLookupError):
                process.kill()
