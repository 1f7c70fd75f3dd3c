/** The machine's control socket: one JSON request a connection, one JSON answer. */
import { createConnection, createServer, type Server } from "node:net";

export type Request = { verb: string; args: string[] };
export type Answer = { ok: boolean; message: string; value?: unknown };

/** Longest request that is read, bytes. */
const MAX_REQUEST = 64 * 1024;

/** Serves `handle` on the unix socket `path`. */
export function serveControl(path: string, handle: (request: Request) => Promise<Answer>): Promise<Server> {
  const server = createServer((socket) => {
    let text = "";
    socket.setEncoding("utf8");
    socket.on("error", () => undefined);
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (text.length > MAX_REQUEST) socket.destroy();
      if (!text.includes("\n")) return;
      const request = JSON.parse(text.slice(0, text.indexOf("\n"))) as Request;
      handle(request).then(
        (answer) => socket.end(`${JSON.stringify(answer)}\n`),
        (error: unknown) => socket.end(`${JSON.stringify({ ok: false, message: String(error) })}\n`),
      );
    });
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => resolve(server));
  });
}

/** Sends one request; rejects after `deadline` ms without an answer. */
export function callControl(
  path: string,
  verb: string,
  args: readonly string[] = [],
  deadline = 10_000,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const timer = setTimeout(() => socket.destroy(new Error(`no answer to "${verb}" on ${path}`)), deadline);
    let text = "";
    socket.setEncoding("utf8");
    socket.on("connect", () => socket.write(`${JSON.stringify({ verb, args })}\n`));
    socket.on("data", (chunk: string) => {
      text += chunk;
    });
    socket.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    socket.on("end", () => {
      clearTimeout(timer);
      try {
        resolve(JSON.parse(text) as Answer);
      } catch (error) {
        reject(new Error(`"${verb}" on ${path} got no whole answer`, { cause: error }));
      }
    });
  });
}
