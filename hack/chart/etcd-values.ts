/** The chart's values of etcd. */
import * as z from "zod";
import { mapOf, object, quantity } from "./schema.ts";
import { digest, duration, placed, pullPolicy, resources } from "./workload.ts";

export const etcd = object(
  {
    external: object(
      {
        endpoints: z
          .array(z.string().regex(/^https?:\/\/[^\s,/]+:[0-9]{1,5}$/))
          .default([])
          .describe(
            "`https://HOST:PORT` of each member of an etcd of yours; then none is embedded. Not the cluster's own",
          ),
        tlsSecret: z
          .string()
          .default("")
          .describe("Secret with `ca.crt`, `tls.crt` and `tls.key`; required for https"),
      },
      "An etcd of your own",
    ),
    replicas: z.literal([1, 3, 5]).default(3).describe("Members; 1 is for trials"),
    image: object(
      {
        repository: z.string().min(1).default("registry.k8s.io/etcd").describe("etcd 3.6 or newer"),
        tag: z
          .string()
          .min(1)
          .default("3.7.0-0")
          .describe("The one that kubeadm installs with Kubernetes 1.37"),
        digest: digest.default("").describe("`sha256:...`: in place of the tag"),
        pullPolicy: pullPolicy.default("IfNotPresent").describe("When the kubelet pulls"),
      },
      "The image",
    ),
    command: z.array(z.string().min(1)).min(1).default(["etcd"]).describe("The program in that image"),
    persistence: object(
      {
        enabled: z
          .boolean()
          .default(true)
          .describe(
            "Without it, for trials with one member, its data go with its Pod; Slipway then rebuilds the slots from the NodeUpdates",
          ),
        storageClassName: z
          .string()
          .default("")
          .describe(
            "Empty for the cluster's default. Local disks do: a member stays on its node through drains",
          ),
        size: quantity.default("4Gi").describe("Twice the quota, at least"),
        annotations: mapOf(z.string()).default({}).describe("Annotations of the claims"),
      },
      "Volumes of the members",
    ),
    quotaBytes: z
      .int()
      .min(67108864)
      .max(8589934592)
      .default(2147483648)
      .describe("Size at which etcd takes no more writes"),
    autoCompactionRetention: duration.default("1h").describe("History that is kept; Slipway needs none"),
    initialClusterState: z
      .enum(["new", "existing"])
      .default("new")
      .describe("`existing` while a member that lost its disk is replaced (docs/operations.md)"),
    logLevel: z.enum(["debug", "info", "warn", "error"]).default("info").describe("What etcd logs"),
    fsync: z.boolean().default(true).describe("false is for tests: a power cut then loses data"),
    ...placed,
    resources: resources({ cpu: "100m", memory: "128Mi" }, { memory: "1Gi" }, "For 1000 nodes"),
  },
  "etcd, where agents report and slots are kept.",
);
