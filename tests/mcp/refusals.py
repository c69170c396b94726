# A Python MCP client that the gateway refuses, or whose key is revoked in the middle of a call.
#
#   python refusals.py --client mcp1|mcp2|fastmcp --url URL [--key KEY] [--wait]
#
# It connects, with --wait reads a line of standard input, and calls the streaming tool. It prints
# JSON lines: {"event": "connected"}, {"event": "progress"} when the first progress came, and last
# what a person sees: {"client": ..., "stage": "connect" or "call", "text": ...}. It sets no deadline
# of its own, so that the test sees whether the client hangs.

import argparse
import asyncio
import json
import sys

TOOL = "run_workflow"
ARGUMENTS = {"templateId": "refusals"}


class Report:
    """What happened so far, told on standard output."""

    def __init__(self, waits):
        self.waits = waits
        self.stage = "connect"
        self.has_progress = False

    def say(self, **fields):
        print(json.dumps(fields), flush=True)

    async def connected(self):
        self.stage = "call"
        self.say(event="connected")
        if self.waits:
            await asyncio.to_thread(sys.stdin.readline)

    async def progress(self, *_values):
        if not self.has_progress:
            self.has_progress = True
            self.say(event="progress")


async def with_mcp1(url, headers, report):
    import httpx
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(30, read=300)) as http,
        streamable_http_client(url, http_client=http) as (read, write, _session_id),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        await report.connected()
        return await session.call_tool(TOOL, ARGUMENTS, progress_callback=report.progress)


async def with_mcp2(url, headers, report):
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300)) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        await report.connected()
        return await client.call_tool(TOOL, ARGUMENTS, progress_callback=report.progress)


async def with_fastmcp(url, headers, report):
    from fastmcp import Client
    from fastmcp.client.transports import StreamableHttpTransport

    async with Client(StreamableHttpTransport(url, headers=headers)) as client:
        await report.connected()
        return await client.call_tool(TOOL, ARGUMENTS, progress_handler=report.progress)


CLIENTS = {"mcp1": with_mcp1, "mcp2": with_mcp2, "fastmcp": with_fastmcp}


def leaves(error):
    """The errors in a group: the group's own message names none of them."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def sentence(error):
    return "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--client", choices=CLIENTS, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key")
    parser.add_argument("--wait", action="store_true")
    options = parser.parse_args()
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    report = Report(options.wait)
    try:
        result = asyncio.run(CLIENTS[options.client](options.url, headers, report))
        text = f"no error: {result}"
    except Exception as error:
        text = sentence(error)
    report.say(client=options.client, stage=report.stage, text=text)


main()
