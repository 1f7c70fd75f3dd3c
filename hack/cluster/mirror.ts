/** An HTTP server for images, with the faults that a mirror can have. */
import { createReadStream, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";
import { Transform } from "node:stream";

/** `lie` turns bytes around; `stall` stops half-way; `short` ends early; `long` goes on after the end. */
export type MirrorFault = "none" | "lie" | "stall" | "short" | "long" | "gone";

export interface Mirror {
  url: string;
  fault: MirrorFault;
  /** Bytes of bodies sent. */
  readonly sent: number;
  close(): Promise<void>;
}

/** Serves the files of `folder` on `address`. */
export async function startMirror(folder: string, address = "127.0.0.1"): Promise<Mirror> {
  const state = { fault: "none" as MirrorFault, sent: 0 };
  const server = createServer((request, response) => serve(folder, state, request, response));
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${address}:${port}`,
    get fault() {
      return state.fault;
    },
    set fault(fault) {
      state.fault = fault;
    },
    get sent() {
      return state.sent;
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function serve(
  folder: string,
  state: { fault: MirrorFault; sent: number },
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const file = join(folder, normalize(`/${request.url ?? ""}`));
  let size: number;
  try {
    size = statSync(file).size;
  } catch {
    response.writeHead(404).end();
    return;
  }
  if (state.fault === "gone") {
    response.writeHead(503).end();
    return;
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const start = range === null ? 0 : Number(range[1]);
  const end = range === null || range[2] === "" ? size - 1 : Math.min(Number(range[2]), size - 1);
  if (start > end) {
    response.writeHead(416, { "content-range": `bytes */${size}` }).end();
    return;
  }
  const length = end - start + 1;
  const headers: Record<string, string | number> = { "accept-ranges": "bytes" };
  if (state.fault !== "long") headers["content-length"] = length;
  if (range !== null) headers["content-range"] = `bytes ${start}-${end}/${size}`;
  response.writeHead(range === null ? 200 : 206, headers);
  const source = createReadStream(file, { start, end });
  source.pipe(damage(state, length, response)).pipe(response);
  response.on("close", () => source.destroy());
}

/** Passes the body on as the fault has it, and counts. */
function damage(
  state: { fault: MirrorFault; sent: number },
  length: number,
  response: ServerResponse,
): Transform {
  const { fault } = state;
  let passed = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const before = passed;
      passed += chunk.length;
      if ((fault === "stall" || fault === "short") && passed > length / 2) {
        const half = chunk.subarray(0, Math.max(0, Math.floor(length / 2) - before));
        state.sent += half.length;
        this.push(half);
        if (fault === "short") setImmediate(() => response.destroy());
        return;
      }
      state.sent += chunk.length;
      if (fault === "lie") chunk.writeUInt8(chunk.readUInt8(chunk.length >> 1) ^ 0xff, chunk.length >> 1);
      done(null, chunk);
    },
    flush(done) {
      if (fault === "long") this.push(Buffer.alloc(64 * 1024, 0x2a));
      done();
    },
  });
}
