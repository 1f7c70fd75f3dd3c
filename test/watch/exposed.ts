/** Every metric that Slipway's processes expose, from their own registries. */
import type { EtcdPort } from "../../coordination/etcd.ts";
import { type Role, registries } from "../../hack/reference/registries.ts";

/** What each process answers to a scrape, as text. */
export async function exposition(etcd: EtcdPort): Promise<Record<Role, string>> {
  const { of, end } = await registries(etcd);
  try {
    return {
      manager: await of.manager.metrics(),
      gateway: await of.gateway.metrics(),
      agent: await of.agent.metrics(),
    };
  } finally {
    end();
  }
}

/** Names of the series that an exposition may have: of a histogram its buckets, sum and count. */
export function seriesNames(text: string): Set<string> {
  const names = new Set<string>();
  for (const [, name = "", type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    if (type === "histogram") for (const part of ["bucket", "sum", "count"]) names.add(`${name}_${part}`);
    else names.add(name);
  }
  return names;
}
