/** A machine as a process. Usage: node hack/machine/main.ts CONFIG.json; SIGTERM cuts its power and ends it. */
import { readFileSync } from "node:fs";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient } from "../../runtime/rest-client.ts";
import { NodeSystem } from "../real/node-system.ts";
import type { MachineConfig } from "./config.ts";
import { Kubelet } from "./kubelet.ts";
import { Machine } from "./machine.ts";
import { ProcessSystem } from "./process-system.ts";

const file = process.argv[2];
if (file === undefined) throw new Error("usage: node hack/machine/main.ts CONFIG.json");
const config = JSON.parse(readFileSync(file, "utf8")) as MachineConfig;

const kubelet =
  config.kubeconfig === undefined || config.node !== undefined
    ? undefined
    : new Kubelet(
        createRestClient(loadKubeConfig(config.kubeconfig), { clock: systemClock, random: systemRandom }),
        {
          name: config.name,
          zone: config.zone,
          machineId: config.machineId,
          labels: config.labels ?? {},
        },
      );
const system =
  config.node === undefined ? new ProcessSystem(config, kubelet) : new NodeSystem(config, config.node);
const machine = new Machine(config, system);
await machine.open();
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => {
    void machine.close().then(() => process.exit(0));
  });
}
