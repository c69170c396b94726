// A program that speaks MCP over standard input and output, such as a desktop application, behind
// mcp-remote.
//
//   node bridge.mjs --client mcp-remote --url URL [--key KEY] [--wait]
//
// It does the same and prints the same JSON lines as refusals.py. What a person sees is the error in
// the answer to the request; where mcp-remote ends without an answer, it is the error in its log.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    client: { type: "string" },
    url: { type: "string" },
    key: { type: "string" },
    wait: { type: "boolean", default: false },
  },
});

// It keeps what it learns about a server in the folder HOME, and opens a browser for OAuth: whoever
// runs this gives it another HOME, and a BROWSER that does nothing.
const header = options.key ? ["--header", `Authorization: Bearer ${options.key}`] : [];
const bridge = spawn(
  "node_modules/.bin/mcp-remote",
  [options.url, ...header, "--transport", "http-only"],
  { stdio: ["pipe", "pipe", "pipe"] },
);
// A bridge that has ended reads no more, which its end tells better than this error would.
bridge.stdin.on("error", () => {});

let stage = "connect";
let hasProgress = false;

function say(fields) {
  process.stdout.write(`${JSON.stringify(fields)}\n`);
}

function send(message) {
  bridge.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
}

function finish(text) {
  say({ client: options.client, stage, text });
  bridge.kill("SIGKILL");
  process.exit(0);
}

function initialize() {
  send({
    id: 1,
    method: "initialize",
    params: {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "genkan-refusals", version: "1.0.0" },
    },
  });
}

async function call() {
  if (options.wait) await once(process.stdin, "data");
  send({ method: "notifications/initialized" });
  const _meta = { progressToken: "refusals" };
  const params = { name: "run_workflow", arguments: { templateId: "refusals" }, _meta };
  send({ id: 2, method: "tools/call", params });
}

function take(message) {
  if (message.method === "notifications/progress") {
    if (!hasProgress) say({ event: "progress" });
    hasProgress = true;
  } else if (message.error) {
    finish(message.error.message);
  } else if (message.id === 1) {
    stage = "call";
    say({ event: "connected" });
    call();
  } else if (message.id === 2) {
    finish(`no error: ${JSON.stringify(message.result)}`);
  }
}

// The first line of the last error that mcp-remote logged: a stack trace follows it.
let lastError = "mcp-remote ended and logged no error";
createInterface({ input: bridge.stderr }).on("line", (line) => {
  // Each entry begins with the process id in brackets.
  const entry = /^\[\d+\] (.*error.*)$/i.exec(line);
  if (entry) lastError = entry[1];
  process.stderr.write(`${line}\n`);
});
createInterface({ input: bridge.stdout }).on("line", (line) => take(JSON.parse(line)));
// "close" comes after the last line of both outputs.
bridge.on("close", () => finish(lastError));
bridge.on("error", (error) => finish(`mcp-remote did not start: ${error.message}`));

initialize();
