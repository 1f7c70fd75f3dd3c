/**
 * What CoreUpdate's API keeps in etcd, because Kubernetes has no place for it: names of applications, requests that were
 * made, and how often machines asked.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import { Parser } from "./parse.ts";
import { CountStore } from "./request-counts.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

const PREFIX = "/slipway-coreupdate/";
const appKey = (id: string): string => `${PREFIX}apps/${encodeURIComponent(id)}`;
const nonceKey = (nonce: string): string =>
  `${PREFIX}nonces/${createHash("sha256").update(nonce).digest("hex")}`;

/** Applications that have a name; each is also in every list. */
const MAX_APPS = 500;

export const AppName = z.object({ label: z.string(), description: z.string() });
export type AppName = z.output<typeof AppName>;

export interface UpdateService {
  /** By id. Throws `EtcdUnavailable`, as all of these. */
  readApps(): Promise<ReadonlyMap<string, AppName>>;
  /** False where there are too many. */
  putApp(id: string, name: AppName): Promise<boolean>;
  deleteApp(id: string): Promise<void>;
  /** True once for each `nonce`, over all gateways, within `seconds`. */
  spendNonce(nonce: string, seconds: number): Promise<boolean>;
  readonly counts: CountStore;
}

export function createUpdateService(ports: Ports): UpdateService {
  const { etcd, random } = ports;
  const parser = new Parser(ports.log);
  return {
    counts: new CountStore(ports, parser),

    async readApps() {
      const { results } = await etcd.read([{ prefix: `${PREFIX}apps/` }]);
      return new Map(
        (results[0] ?? []).flatMap((kv): [string, AppName][] => {
          const name = parser.json(AppName, kv);
          return name === undefined ? [] : [[decodeURIComponent(kv.key.slice(PREFIX.length + 5)), name]];
        }),
      );
    },

    putApp: (id, name) =>
      transact(etcd, async (): Promise<Step<boolean>> => {
        const { results } = await etcd.read([{ prefix: `${PREFIX}apps/` }]);
        const found = (results[0] ?? []).find(({ key }) => key === appKey(id));
        if (found === undefined && (results[0] ?? []).length >= MAX_APPS) return { answer: false };
        return {
          compares: [unchanged(appKey(id), found)],
          operations: [{ put: appKey(id), value: JSON.stringify(name) }],
          committed: () => true,
        };
      }),

    deleteApp: (id) =>
      transact(etcd, async (): Promise<Step<void>> => {
        const { results } = await etcd.read([{ key: appKey(id) }]);
        const found = results[0]?.[0];
        if (found === undefined) return { answer: undefined };
        return {
          compares: [unchanged(appKey(id), found)],
          operations: [{ delete: appKey(id) }],
          committed: () => undefined,
        };
      }),

    async spendNonce(nonce, seconds) {
      const key = nonceKey(nonce);
      const ours = random.uuid();
      const lease = await etcd.leaseOnce(seconds);
      return await transact(etcd, async (): Promise<Step<boolean>> => {
        const { results } = await etcd.read([{ key }]);
        const found = results[0]?.[0];
        if (found !== undefined) return { answer: found.value === ours };
        return {
          compares: [unchanged(key, undefined)],
          operations: [{ put: key, value: ours, lease }],
          committed: () => true,
        };
      });
    },
  };
}
