// The official TypeScript SDK as a client: initialise, list the tools, call the streaming one.
//
//   node client.mjs --url URL [--key KEY] [--ca FILE] --mode h1|h2
//
// Standard output is JSON lines, each with `at_ms` on the monotonic clock. It ends with 0 when
// everything worked, else with 1 and a sentence on standard error.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { Agent, fetch } from "undici";

const TOOL = "run_workflow";
// The tests hold steps back until they have seen the one before: this is only for when all is lost.
const CALL_TIMEOUT_MS = 30_000;

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    key: { type: "string" },
    ca: { type: "string" },
    mode: { type: "string", default: "h1" },
  },
});

function say(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ event, at_ms: performance.now(), ...fields })}\n`);
}

// undici says what it negotiated nowhere near fetch: ask the connection when it is made.
function agent() {
  const connect = options.ca ? { ca: readFileSync(options.ca, "utf8") } : {};
  const agent = new Agent({ allowH2: options.mode === "h2", connect });
  agent.on("connect", (origin) => say("connected", { origin: String(origin) }));
  return agent;
}

async function run() {
  if (!options.url) throw new Error("--url is missing");
  if (!["h1", "h2"].includes(options.mode)) throw new Error("--mode is h1 or h2");

  const dispatcher = agent();
  const headers = options.key ? { Authorization: `Bearer ${options.key}` } : {};
  const transport = new StreamableHTTPClientTransport(new URL(options.url), {
    requestInit: { headers },
    fetch: (url, init) => fetch(url, { ...init, dispatcher }),
  });
  const client = new Client({ name: "genkan-story", version: "1.0.0" });
  await client.connect(transport);
  say("initialized", { server: client.getServerVersion()?.name });

  const { tools } = await client.listTools();
  say("tools", { names: tools.map((tool) => tool.name) });

  const result = await client.callTool(
    { name: TOOL, arguments: { templateId: "smoke" } },
    undefined,
    {
      timeout: CALL_TIMEOUT_MS,
      onprogress: ({ progress, total }) => say("progress", { progress, total }),
    },
  );
  say("result", { is_error: result.isError ?? false, text: result.content[0]?.text });

  await transport.terminateSession();
  await client.close();
  await dispatcher.close();
  say("closed");
}

run().catch((error) => {
  const cause = error.cause ? ` (${error.cause.message ?? error.cause})` : "";
  process.stderr.write(`The MCP client failed at ${options.url}: ${error.message}${cause}\n`);
  process.exit(1);
});
