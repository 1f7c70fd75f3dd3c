/**
 * The host hook that the agent of a reference machine runs: passes the verb to the
 * machine and exits with 0 if it did it. Usage: node hook.mjs SOCKET VERB [ARG...]
 */
import { createConnection } from "node:net";

const [path, verb, ...args] = process.argv.slice(2);
const socket = createConnection(path);
let text = "";
socket.setEncoding("utf8");
socket.on("connect", () => socket.write(`${JSON.stringify({ verb, args })}\n`));
socket.on("data", (chunk) => {
  text += chunk;
});
socket.on("error", (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 70;
});
socket.on("end", () => {
  const answer = text === "" ? { ok: false, message: "no answer" } : JSON.parse(text);
  if (!answer.ok) {
    process.stderr.write(`${answer.message}\n`);
    process.exitCode = 1;
  }
});
