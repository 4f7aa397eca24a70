"""jsonrpc with real MCP servers and the official client, which are installed for this test alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Servers, run

PACKAGES = ["mcp[ws]<2", "mcp-server-time", "mcp-server-git"]
"""The official client speaks WebSocket up to 1.x."""

_CLIENTS = """
import asyncio, json, sys, warnings
warnings.simplefilter("ignore")
import websockets
from mcp import ClientSession
from mcp.client.websocket import websocket_client

URL, TOOL, ARGUMENTS = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

async def official():
    async with websocket_client(URL) as streams, ClientSession(*streams) as session:
        await session.initialize()
        assert TOOL in [tool.name for tool in (await session.list_tools()).tools]
        for _ in range(5):
            result = await session.call_tool(TOOL, ARGUMENTS)
            assert not result.isError, result
        return result.content[0].text

async def plain():
    # The same ids as the official client has, at the same time.
    async with websockets.connect(URL, subprotocols=["mcp"]) as socket:
        async def ask(number, method, params):
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
            answer = json.loads(await socket.recv())
            assert answer["id"] == number, answer
            return answer["result"]
        me = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "plain", "version": "1"}}
        await ask(0, "initialize", me)
        await socket.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        for number in range(1, 6):
            result = await ask(number, "tools/call", {"name": TOOL, "arguments": ARGUMENTS})
        return result["content"][0]["text"]

async def main():
    for text in await asyncio.gather(official(), plain()):
        print(text)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def mcp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with MCP in it."""
    folder = tmp_path_factory.mktemp("mcp")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    installed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    if installed.returncode:
        pytest.skip(
            f"can't install {', '.join(PACKAGES)}: {(installed.stderr.strip() or 'pip failed').splitlines()[-1]}"
        )
    return folder / "bin"


@pytest.mark.skipif("FWS_TEST_MCP" not in os.environ, reason="FWS_TEST_MCP=1 installs real MCP servers from PyPI")
@pytest.mark.slow
@pytest.mark.timeout(360)
def test_two_clients_of_real_mcp_servers(servers: Servers, mcp: Path) -> None:
    run("git", "init", "--quiet", str(servers.folder))
    (servers.folder / "new-file").write_text("")
    for server_command, tool, arguments, said in (
        ("mcp-server-time", "get_current_time", '{"timezone": "Asia/Tokyo"}', "Asia/Tokyo"),
        (
            f"mcp-server-git --repository {servers.folder}",
            "git_status",
            f'{{"repo_path": "{servers.folder}"}}',
            "new-file",
        ),
    ):
        server = servers.start("--subprotocol", "mcp", f"jsonrpc {mcp}/{server_command}")
        done = run(str(mcp / "python"), "-c", _CLIENTS, server.url, tool, arguments)
        assert done.returncode == 0, done.stderr.decode() + server.stderr.text
        assert done.stdout.decode().count(said) >= 2
        assert server.stop() == 0
