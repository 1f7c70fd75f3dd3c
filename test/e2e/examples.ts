/** docs/examples as they are, but for what a test can't wait for or has to build itself. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import type { KubeObject } from "../../api/meta.ts";
import { SERVICE_PORT } from "../../hack/real/cluster.ts";

const FOLDER = resolve(import.meta.dirname, "../../docs/examples");

/** The label by which the group `workers` selects its nodes. */
export const WORKER = "node-role.kubernetes.io/worker=";
export const GROUP = "workers";

/** Long enough to look at it. */
const SOAK = "20s";

type Example = KubeObject & { spec: Record<string, unknown> };

/** Which specs differ, by kind and name. `now`: wall clock, ms. */
function differences(now: number): Record<string, object> {
  const halfAYearOn = ((new Date(now).getUTCMonth() + 6) % 12) + 1;
  return {
    "UpdateGroup workers": {
      stages: [{ name: "canary", count: 1, soak: SOAK }],
      health: {
        bootChecks: [
          { name: "kubelet", unit: "kubelet.service" },
          { name: "proxy", http: "http://127.0.0.1:10256/healthz" },
          { name: "harbor", http: `http://localhost:${SERVICE_PORT}/healthz`, timeout: "5s" },
        ],
        bootDeadline: "60s",
        releaseDeadline: "10m",
      },
    },
    // Open around the clock.
    "RebootWindow weeknights": { start: "00:00", duration: "25h" },
    "RebootWindow christmas": { start: `0 0 20 ${halfAYearOn} *` },
  };
}

/** In the order of the files; `release` takes the place of the one there, which has its name. */
export function examples(release: Example, now = Date.now()): Example[] {
  const different = differences(now);
  const objects = readdirSync(FOLDER)
    .toSorted()
    .map((file) => parse(readFileSync(join(FOLDER, file), "utf8")) as Example)
    .map((object) => {
      const name = `${object.kind} ${object.metadata.name}`;
      if (name === `Release ${release.metadata.name}`) return release;
      const spec = different[name];
      delete different[name];
      return spec === undefined ? object : { ...object, spec: { ...object.spec, ...spec } };
    });
  const unknown = Object.keys(different);
  if (unknown.length > 0) throw new Error(`docs/examples has no ${unknown.join(", ")}`);
  if (!objects.includes(release)) throw new Error(`docs/examples has no Release ${release.metadata.name}`);
  return objects;
}
