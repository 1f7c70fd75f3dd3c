/** `kubectl apply` of a file to the API server of the tests. For tests. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { inject } from "vitest";
import { tool } from "../hack/tools.ts";

/** As a person or a tool like it does it: what the file names it will name again. */
export async function applyFile(object: object): Promise<void> {
  const kubectl = ["--kubeconfig", inject("kubeconfig"), "apply", "-f", "-"];
  const running = promisify(execFile)(await tool("kubectl"), kubectl);
  running.child.stdin?.end(JSON.stringify(object));
  await running;
}
