/** Views as the API gives them, for tests. */
import type { Channel, Group, Machine, Release } from "../contract.ts";

export function machine(uid: string, more: Partial<Machine> = {}): Machine {
  return {
    uid,
    name: `node-${uid}`,
    kind: "node",
    group: "workers",
    zone: "a",
    version: "1.0.0",
    target: "1.0.0",
    state: "Idle",
    reason: "Current",
    message: "The node runs what it should.",
    slot: false,
    connected: true,
    ...more,
  };
}

export function group(name: string, more: Partial<Group> = {}): Group {
  const counts = {
    ...{ nodes: 10, updated: 4, inFlight: 0, failed: 0, unavailable: 0, limit: 2 },
    ...{ foreign: 0, foreignUpdated: 0 },
  };
  return {
    ...{ name, driver: "fastpatch", channel: "stable", target: "r2", version: "2.0.0" },
    ...{ state: "Updating", paused: false, stages: [], failures: [], kubectl: "" },
    ...{ counts, ...more },
  };
}

export function channel(name: string, more: Partial<Channel> = {}): Channel {
  return { name, release: "r1", architectures: [], promotions: [], groups: [], kubectl: "", ...more };
}

export function release(name: string, more: Partial<Release> = {}): Release {
  return {
    ...{ name, version: "2.0.0", product: "p", architectures: ["amd64"], steppingStone: false },
    ...{ running: 0, failed: 0, channels: [], groups: [], kubectl: "", ...more },
  };
}
