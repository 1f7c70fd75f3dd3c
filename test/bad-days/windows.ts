/** Windows that close when a day wants them to. */
import { API_VERSION, type KubeObject } from "../../api/meta.ts";

const MINUTE = 60_000;

/** An opening that began with the present minute and ends at `closes` (wall clock, ms). */
export function windowUntil(
  name: string,
  closes: number,
  groupLabels: Record<string, string>,
): KubeObject & { spec: object } {
  const start = Math.floor(Date.now() / MINUTE) * MINUTE;
  return {
    apiVersion: API_VERSION,
    kind: "RebootWindow",
    metadata: { name },
    spec: {
      start: new Date(start).toISOString().slice(11, 16),
      duration: `${Math.round((closes - start) / 1000)}s`,
      timeZone: "UTC",
      groupSelector: { matchLabels: groupLabels },
    },
  };
}
