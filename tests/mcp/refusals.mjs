// A TypeScript MCP client that the gateway refuses, or whose key is revoked in the middle of a call.
//
//   node refusals.mjs --client sdk1|sdk2 --url URL [--key KEY] [--wait]
//
// It does the same and prints the same JSON lines as refusals.py.

import { once } from "node:events";
import { parseArgs } from "node:util";

const TOOL = "run_workflow";
const MODULES = {
  sdk1: async () => ({
    ...(await import("@modelcontextprotocol/sdk/client/index.js")),
    ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
  }),
  sdk2: () => import("@modelcontextprotocol/client"),
};

const { values: options } = parseArgs({
  options: {
    client: { type: "string" },
    url: { type: "string" },
    key: { type: "string" },
    wait: { type: "boolean", default: false },
  },
});

let stage = "connect";

function say(fields) {
  process.stdout.write(`${JSON.stringify(fields)}\n`);
}

async function run() {
  const { Client, StreamableHTTPClientTransport } = await MODULES[options.client]();
  const headers = options.key ? { Authorization: `Bearer ${options.key}` } : {};
  const transport = new StreamableHTTPClientTransport(new URL(options.url), {
    requestInit: { headers },
  });
  const client = new Client({ name: "genkan-refusals", version: "1.0.0" });
  await client.connect(transport);
  stage = "call";
  say({ event: "connected" });
  if (options.wait) await once(process.stdin, "data");

  let hasProgress = false;
  const onprogress = () => {
    if (!hasProgress) say({ event: "progress" });
    hasProgress = true;
  };
  const call = { name: TOOL, arguments: { templateId: "refusals" } };
  // The second argument was the result's schema in 1.x and is gone in 2.x.
  const more = options.client === "sdk1" ? [undefined, { onprogress }] : [{ onprogress }];
  const result = await client.callTool(call, ...more);
  return `no error: ${JSON.stringify(result)}`;
}

run()
  .catch((error) => `${error.name}: ${error.message}`)
  .then((text) => {
    say({ client: options.client, stage, text });
    // A transport that still tries to connect again would keep the process.
    process.exit(0);
  });
