/** Serves a directory with byte ranges, in a thread of its own: run as a Worker with the directory as its data. Posts its origin. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { parentPort, workerData } from "node:worker_threads";

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = join(workerData as string, request.url ?? "");
  const { size } = await stat(path);
  const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  const start = match === null ? 0 : Number(match[1]);
  const end = match === null ? size - 1 : Math.min(Number(match[2]), size - 1);
  response.writeHead(match === null ? 200 : 206, {
    "content-length": end - start + 1,
    ...(match === null ? {} : { "content-range": `bytes ${start}-${end}/${size}` }),
  });
  await pipeline(createReadStream(path, { start, end, highWaterMark: 1024 * 1024 }), response);
}

const server = createServer(
  (request, response) => void answer(request, response).catch(() => response.destroy()),
);
server.listen(0, "127.0.0.1", () => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has no origin
  parentPort?.postMessage(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
