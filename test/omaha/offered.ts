/** A release as it stands in an offer. */
import type { Offered } from "../../coordination/records.ts";

export function offered(version: string, more: Partial<Offered> = {}): Offered {
  const payload = { name: `${version}.gz`, size: 100, sha256: "ab".repeat(32) };
  const made = { release: `os-${version}`, version, codebases: ["https://images.test/os"], extras: [] };
  return { ...made, payload, ...more };
}
