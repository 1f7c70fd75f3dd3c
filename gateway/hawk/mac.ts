/** What Hawk signs, and how (mozilla/hawk, README "Protocol Example"); always HMAC with SHA-256. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export interface Signed {
  ts: number;
  nonce: string;
  method: string;
  /** Path and query as the client wrote them. */
  resource: string;
  host: string;
  port: number;
  /** Of the payload, base64; empty where it was not hashed. */
  hash: string;
  ext: string;
  app?: string;
  dlg?: string;
}

/** Base64 of the MAC over a request (`header`) or the answer to it (`response`). */
export function macOf(kind: "header" | "response", key: string, signed: Signed): string {
  const { ts, nonce, method, resource, host, port, hash, ext, app, dlg } = signed;
  const lines = [
    ...[`hawk.1.${kind}`, ts, nonce, method.toUpperCase(), resource, host.toLowerCase(), port, hash],
    ext.replaceAll("\\", "\\\\").replaceAll("\n", "\\n"),
    ...(app === undefined ? [] : [app, dlg ?? ""]),
  ];
  return createHmac("sha256", key)
    .update(`${lines.join("\n")}\n`)
    .digest("base64");
}

/** Base64 of the hash over a body. */
export function payloadHash(contentType: string, body: string | Buffer): string {
  const type = contentType.split(";", 1)[0] ?? "";
  return createHash("sha256")
    .update(`hawk.1.payload\n${type.trim().toLowerCase()}\n`)
    .update(body)
    .update("\n")
    .digest("base64");
}

/** Base64 of the MAC by which a client knows that the time is ours. */
export function timeMac(key: string, ts: number): string {
  return createHmac("sha256", key).update(`hawk.1.ts\n${ts}\n`).digest("base64");
}

/** Whether both are the same, in a time that tells nothing of where they differ. */
export function sameText(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)];
  return one.length === other.length && timingSafeEqual(one, other);
}
