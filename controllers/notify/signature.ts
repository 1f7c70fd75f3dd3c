/** How those that a group names can tell that it was Slipway who called. */
import { createHmac } from "node:crypto";

/** The key of that name, or undefined; read anew for each call: it may be rotated. */
export type WebhookKeys = (name: string) => Promise<string | undefined>;

/** The signature of a body, as the header `Slipway-Signature` has it. */
export function signatureOf(body: string, key: string): string {
  return `sha256=${createHmac("sha256", key).update(body).digest("hex")}`;
}
