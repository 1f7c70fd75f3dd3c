/** promtool, run on files or on a text. */
import { spawn } from "node:child_process";
import { tool } from "../../hack/tools.ts";

const DEADLINE = 60_000;

export interface Verdict {
  ok: boolean;
  output: string;
}

/** `input` goes to its standard input. Never rejects because promtool found something. */
export async function promtool(args: readonly string[], input = ""): Promise<Verdict> {
  const child = spawn(await tool("promtool"), args, { timeout: DEADLINE });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stdin.on("error", () => undefined).end(input);
  return new Promise((fulfil, reject) => {
    child.once("error", reject);
    child.once("close", (code) => fulfil({ ok: code === 0, output }));
  });
}
