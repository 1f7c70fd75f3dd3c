/** What Slipway's processes on the nodes take of memory, as the kernel counts it. */
import { readdirSync, readFileSync } from "node:fs";

export type Role = "manager" | "gateway" | "agent" | "etcd";

/** Of the largest process of a role, MiB: what is resident, and the most that ever was. */
export interface Resident {
  processes: number;
  rss: number;
  peak: number;
}

/** Of all processes in this box. */
export function residents(): Partial<Record<Role, Resident>> {
  const found: Partial<Record<Role, Resident>> = {};
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const role = roleOf(read(`/proc/${pid}/cmdline`).split("\0"));
    const status = read(`/proc/${pid}/status`);
    if (role === undefined || status === "") continue;
    const mebibytes = (field: string): number =>
      Math.round(Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) / 102.4) / 10;
    const { processes = 0, rss = 0, peak = 0 } = found[role] ?? {};
    found[role] = {
      processes: processes + 1,
      rss: Math.max(rss, mebibytes("VmRSS")),
      peak: Math.max(peak, mebibytes("VmHWM")),
    };
  }
  return found;
}

function roleOf(words: readonly string[]): Role | undefined {
  if (words.some((word) => word.endsWith("/bin/agent.cjs"))) return "agent";
  if (words.some((word) => word.startsWith("--name=slipway-etcd-"))) return "etcd";
  const at = words.findIndex((word) => word.endsWith("/bin/slipway.mjs"));
  const role = at < 0 ? undefined : words[at + 1];
  return role === "manager" || role === "gateway" ? role : undefined;
}

/** Empty once the process is gone. */
function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
