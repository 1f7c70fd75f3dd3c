/** Answers that leave in pieces, so that a client that takes nothing holds one piece of them, and not for ever. */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Clock } from "../../ports/clock.ts";
import type { EdgeAnswer } from "./server.ts";

/** Of a body, bytes: of more than a socket takes at once a client might take nothing, and hold the rest for ever. */
const AT_ONCE = 64 * 1024;

/** An answer to anything but HEAD: one with a large body gives it in pieces, every other one stays as it is. */
export function inPieces(answer: EdgeAnswer): EdgeAnswer {
  if (answer.pieces !== undefined || answer.body.length <= AT_ONCE) return answer;
  const body = Buffer.from(answer.body);
  const slices = async function* (): AsyncGenerator<Buffer> {
    for (let at = 0; at < body.length; at += AT_ONCE) yield body.subarray(at, at + AT_ONCE);
  };
  const headers = { ...answer.headers, "content-length": String(body.length) };
  return { ...answer, headers, body: "", pieces: slices() };
}

interface Piecewise extends Pick<EdgeAnswer, "status" | "body"> {
  headers: OutgoingHttpHeaders;
  pieces: AsyncIterable<string | Uint8Array>;
}

/**
 * A client that reads slower than pieces come holds them up; one that has gone, or takes none within `pieceTimeout` ms,
 * ends them. Rejects with what `pieces` throw.
 */
export async function sendPieces(
  response: ServerResponse,
  { status, headers, body, pieces }: Piecewise,
  { clock, pieceTimeout }: { clock: Pick<Clock, "after">; pieceTimeout: number },
): Promise<void> {
  const until = async (event: "drain" | "finish"): Promise<void> => {
    if (response.closed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    response.once(event, resolve);
    response.once("close", resolve);
    const cancel = clock.after(pieceTimeout, () => response.destroy());
    await promise;
    cancel();
    response.off(event, resolve);
    response.off("close", resolve);
  };
  response.writeHead(status, headers);
  response.flushHeaders();
  if (body.length > 0) response.write(body);
  for await (const piece of pieces) {
    if (response.closed) break;
    if (!response.write(piece)) await until("drain");
  }
  response.end();
  if (!response.writableFinished) await until("finish");
}
