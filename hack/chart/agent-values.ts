/** The chart's values of the agent. */
import * as z from "zod";
import { object, passed } from "./schema.ts";
import { address, common, hostPath, resources, tolerations } from "./workload.ts";

/** See agent/agent.ts: on SIGTERM an agent ends the act under way, then undoes what is half done. */
const UPDATE_STRATEGY =
  "Either is safe at any time: an agent that is told to end finishes its act, undoes a flip that no reboot followed, and what it leaves the next one resumes or withdraws. `OnDelete` leaves the time to you";

export const agent = object(
  {
    enabled: z.boolean().default(true).describe("Without it only plain machines are updated"),
    driver: z
      .enum(["sentinel", "fastpatch"])
      .default("sentinel")
      .describe(
        "`sentinel`: only reboots, when something asks for one. `fastpatch`: Slipway's own A/B images, for nodes laid out as docs/host.md says",
      ),
    sentinel: object(
      {
        file: z
          .union([z.literal(""), hostPath])
          .default("/run/reboot-required")
          .describe("A file of the host that says, by existing, that a reboot is needed"),
        command: z
          .string()
          .default("")
          .describe("In place of the file: a command of `agent.commandsFile` that says so by exit code 0"),
      },
      "Driver `sentinel`",
    ),
    fastpatch: object(
      {
        disk: z
          .union([z.literal(""), hostPath])
          .default("")
          .describe("The disk with slots and state, such as /dev/sda"),
        trustFile: hostPath
          .default("/etc/slipway/trust.json")
          .describe("A file of the host: the public keys that images must be signed with"),
      },
      "Driver `fastpatch`",
    ),
    host: object(
      {
        kind: z
          .enum(["systemd", "hook"])
          .default("systemd")
          .describe("How the host reboots and arms the dead man's switch (docs/host.md)"),
        hook: z
          .string()
          .default("")
          .describe(
            "Kind `hook`: the executable, as the agent's container sees it (the host's root directory is /host)",
          ),
      },
      "The machine around the agent",
    ),
    commandsFile: z
      .union([z.literal(""), hostPath])
      .default("")
      .describe("A file of the host: the commands that health checks may name"),
    gateways: z.array(address).default([]).describe("`HOST:PORT` of gateways, in place of the Service"),
    metricsPort: z
      .int()
      .min(0)
      .max(65535)
      .default(9743)
      .describe("Port of the node for metrics and probes; 0 for none"),
    hostNetwork: z
      .boolean()
      .default(true)
      .describe(
        "So that a boot is judged, and reported, whatever became of the Pod network; checks may ask localhost",
      ),
    updateStrategy: object(
      {
        type: z.enum(["RollingUpdate", "OnDelete"]).default("RollingUpdate").describe(UPDATE_STRATEGY),
        maxUnavailable: z
          .union([z.int().min(1), z.string().regex(/^[1-9][0-9]?%$|^100%$/)])
          .default("10%")
          .describe("Agents replaced at a time; a node that reboots counts"),
      },
      "How agents are replaced",
    ),
    terminationGracePeriodSeconds: z
      .int()
      .min(30)
      .max(3600)
      .default(180)
      .describe(
        "What an agent may take to end its act and to undo what is half done: at most six steps of 30 s",
      ),
    priorityClassName: z
      .string()
      .default("system-node-critical")
      .describe(
        "So that the kubelet evicts it last. Where a quota keeps this class for kube-system, name another",
      ),
    tolerations: tolerations
      .default([{ operator: "Exists" }])
      .describe("All taints: a node that is not well needs its agent most"),
    ...common,
    resources: resources(
      { cpu: "10m", memory: "64Mi" },
      { memory: "256Mi" },
      "One runs on every node. Memory beyond the limit kills it in the middle of a write, which it resumes",
    ),
    extraVolumes: passed().default([]).describe("More volumes of the Pod"),
    extraVolumeMounts: passed().default([]).describe("Where the container sees them"),
  },
  "The agent updates and reboots the node that it runs on.",
);
