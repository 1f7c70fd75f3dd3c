/**
 * The chart's values: the single source of values.yaml, values.schema.json and the table in
 * the chart's README. Each has a description and a default; what Kubernetes itself
 * checks (affinity, volumes) is passed through.
 */
import * as z from "zod";
import { agent } from "./agent-values.ts";
import { consoleValues } from "./console-values.ts";
import { etcd } from "./etcd-values.ts";
import { mapOf, object, passed } from "./schema.ts";
import { digest, dnsName, duration, placed, port, pullPolicy, resources } from "./workload.ts";

const image = object(
  {
    repository: z
      .string()
      .min(1)
      .default("ghcr.io/slipway-dev/slipway")
      .describe("Name of the image, which has all roles"),
    tag: z.string().default("").describe("Tag; empty for the chart's appVersion"),
    digest: digest.default("").describe("`sha256:...`: in place of the tag"),
    pullPolicy: pullPolicy.default("IfNotPresent").describe("When the kubelet pulls"),
    pullSecrets: z.array(z.string().min(1)).default([]).describe("Names of Secrets for the registry"),
  },
  "The image of all roles.",
);

const certificates = object(
  {
    mode: z
      .enum(["generated", "certManager", "provided"])
      .default("generated")
      .describe(
        "`generated`: a Job makes them at install, a CronJob renews them. `certManager`: cert-manager does. `provided`: you make the Secrets that the README names",
      ),
    gatewayNames: z
      .array(z.union([dnsName, z.ipv4(), z.ipv6()]))
      .default([])
      .describe("DNS names and addresses under which machines outside of the cluster reach the gateways"),
    schedule: z
      .string()
      .min(9)
      .default("17 3 * * *")
      .describe("When the CronJob looks; it renews what has a third of its 90 days left"),
    issuerRef: z
      .strictObject({
        name: z.string(),
        kind: z.enum(["Issuer", "ClusterIssuer"]).optional(),
        group: z.string().optional(),
      })
      .default({ name: "" })
      .describe("Mode `certManager`: who signs the two authorities; without a name they are self-signed"),
  },
  "Certificates of gateways and of the embedded etcd.",
);

const manager = object(
  {
    replicas: z.int().min(1).max(5).default(2).describe("One leads, the others wait for its Lease"),
    webhookKeysSecret: z
      .string()
      .regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$/)
      .default("")
      .describe(
        "Secret of this namespace whose entries are the keys that groups name as `signingKey`: notifications and calls of hooks are signed with them",
      ),
    upstreams: z
      .boolean()
      .default(false)
      .describe(
        "Whether Channels may follow other Omaha servers: lets the manager make Releases and change Channels",
      ),
    upstreamUrlsSecret: z
      .string()
      .regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$/)
      .default("")
      .describe(
        "Secret of this namespace whose entries are the URLs that Channels name as `urlKey`: those of other Slipways, with a secret in the path",
      ),
    ...placed,
    resources: resources(
      { cpu: "50m", memory: "128Mi" },
      { memory: "512Mi" },
      "For 1000 nodes. It holds all nodes and NodeUpdates in memory",
    ),
  },
  "The manager decides what each node runs and when it reboots.",
);

const hooks = object(
  {
    jobNamespaces: z
      .array(z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/))
      .max(32)
      .default([])
      .describe(
        "Namespaces in which hooks of groups may make Jobs of suspended CronJobs; they must exist. Whoever may write an UpdateGroup can have each suspended CronJob there run, so take namespaces for hooks alone",
      ),
  },
  "Hooks before and after a reboot.",
);

const gateway = object(
  {
    replicas: z.int().min(1).max(20).default(2).describe("Agents find another one when theirs goes"),
    ...placed,
    resources: resources({ cpu: "50m", memory: "96Mi" }, { memory: "512Mi" }, "For 1000 agents"),
    service: object(
      {
        type: z
          .enum(["ClusterIP", "NodePort", "LoadBalancer"])
          .default("ClusterIP")
          .describe("How machines reach it"),
        port: port.default(7443).describe("Port of the Service"),
        nodePort: z.int().min(0).max(65535).default(0).describe("Fixed node port; 0 lets the cluster choose"),
        annotations: mapOf(z.string()).default({}).describe("Annotations of the Service"),
        externalTrafficPolicy: z
          .enum(["", "Cluster", "Local"])
          .default("")
          .describe("`Local` keeps the machines' addresses, which limits on strangers count by"),
      },
      "The Service in front of the gateways",
    ),
    authorities: z
      .string()
      .default("")
      .describe(
        "ConfigMap of yours, whose `ca.crt` has authorities that it trusts besides the well-known ones: of an identity provider, or of an OCI registry of payloads",
      ),
    machines: object(
      {
        enabled: z
          .boolean()
          .default(false)
          .describe("Serve FleetLock and Omaha, for machines that don't run our agent, on a port of its own"),
        tls: z
          .boolean()
          .default(true)
          .describe(
            "With the gateway's certificate; without it something else must keep the secrets private",
          ),
        keysSecret: z
          .string()
          .default("")
          .describe(
            "Secret of yours, whose `keys` has a base64 key of 32 bytes in each line, newest first: the groups' secrets are made of it. Without one only groups are served that ask for none",
          ),
        clientAuthorities: z
          .string()
          .default("")
          .describe(
            "ConfigMap of yours, whose `ca.crt` has the authorities of certificates that machines may show in place of a secret (docs/fleetlock.md), and lists of revoked ones; needs `tls`",
          ),
        coreupdateSecret: z
          .string()
          .default("")
          .describe(
            "Secret of yours, whose `users.yaml` names who may use CoreUpdate's API (docs/coreupdate.md), on the same port; without one it is not served",
          ),
        registry: z
          .array(z.string().regex(/^[a-z0-9-]{1,63}$/))
          .max(16)
          .default([])
          .describe(
            "Key spaces that are served by etcd's v2 API (docs/registry.md); the secret of one is that of the group registry/NAME",
          ),
        registryPlainPort: z
          .int()
          .min(0)
          .max(65535)
          .default(0)
          .describe(
            "Port of the Service that serves the first of them without TLS and secret, to all that reach it; 0 for none",
          ),
        setMaxGroups: z
          .array(z.string().regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/))
          .max(128)
          .default([])
          .describe(
            "UpdateGroups that the gateway may write, so that `locksmithctl set-max` changes their limits where they say `machines.setMax`",
          ),
        port: port.default(7444).describe("Port of the Service"),
        publicUrl: z
          .string()
          .regex(/^(https?:\/\/[^\s?#]+)?$/)
          .default("")
          .describe(
            "Base of the URLs under which machines reach it: what `{gateway}` stands for in a Release",
          ),
        payloads: object(
          {
            claim: z
              .string()
              .regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$/)
              .default("")
              .describe("PersistentVolumeClaim of this namespace; each replica mounts it, to read"),
            uploads: z
              .boolean()
              .default(false)
              .describe(
                "Lets users of CoreUpdate's API put files there (`updateservicectl package upload`): it is mounted to write",
              ),
            hostPath: z
              .string()
              .regex(/^(\/.+)?$/)
              .default("")
              .describe(
                "In place of it a directory of the nodes, which namespaces with Pod Security `baseline` refuse",
              ),
            repository: z
              .string()
              .regex(/^(https?:\/\/[^\s?#@]+\/[^\s?#@]+)?$/)
              .default("")
              .describe("Besides, or in place of both, a repository of an OCI registry, as a URL"),
            credentialsSecret: z
              .string()
              .regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$/)
              .default("")
              .describe("Secret whose `credentials` is the registry's user:password; anonymous without"),
          },
          "Payloads that are served under /payloads/, to all that reach the port; none where all are empty",
        ),
      },
      "Machines that don't run our agent",
    ),
    console: consoleValues,
    trustedProxies: z
      .array(z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()]))
      .max(64)
      .default([])
      .describe(
        "Addresses and networks of what stands in front of `machines` and `console`: what it says in X-Forwarded-For is believed, so that limits on strangers count by theirs",
      ),
    ingress: object(
      {
        enabled: z
          .boolean()
          .default(false)
          .describe(
            "For machines outside of the cluster. The controller must pass TLS through: machines show client certificates",
          ),
        className: z.string().default("").describe("Class of the Ingress"),
        annotations: mapOf(z.string())
          .default({ "nginx.ingress.kubernetes.io/ssl-passthrough": "true" })
          .describe("What makes the controller pass TLS through"),
        host: z.string().default("").describe("Its name; add it to `certificates.gatewayNames`"),
      },
      "An Ingress",
    ),
    tlsRoute: object(
      {
        enabled: z
          .boolean()
          .default(false)
          .describe(
            "For machines outside of the cluster, by the Gateway API; the listener's TLS mode must be Passthrough",
          ),
        apiVersion: z
          .string()
          .min(1)
          .default("gateway.networking.k8s.io/v1alpha3")
          .describe("As the cluster's Gateway API has it"),
        parentRefs: passed().default([]).describe("Gateways"),
        hostnames: z.array(dnsName).default([]).describe("Names; add them to `certificates.gatewayNames`"),
      },
      "A TLSRoute",
    ),
  },
  "The gateway speaks with the agents.",
);

const monitor = (what: string) =>
  object(
    {
      enabled: z.boolean().default(false).describe("Needs the Prometheus operator's CRDs"),
      labels: mapOf(z.string()).default({}).describe("Labels that your Prometheus selects by"),
      interval: duration.default("30s").describe("How often it is asked"),
    },
    what,
  );

const monitoring = object(
  {
    serviceMonitor: monitor("Managers and gateways"),
    podMonitor: monitor("Agents and members of etcd"),
    prometheusRule: object(
      {
        enabled: z.boolean().default(false).describe("Needs the Prometheus operator's CRDs"),
        labels: mapOf(z.string()).default({}).describe("Labels that your Prometheus selects by"),
      },
      "Recording and alert rules",
    ),
    dashboards: object(
      {
        enabled: z.boolean().default(false).describe("A ConfigMap for Grafana's sidecar"),
        labels: mapOf(z.string())
          .default({ grafana_dashboard: "1" })
          .describe("Labels that the sidecar selects by"),
        annotations: mapOf(z.string()).default({}).describe("Such as the folder"),
      },
      "Grafana dashboards",
    ),
  },
  "Watching: all off by default.",
);

const networkPolicy = object(
  {
    enabled: z
      .boolean()
      .default(true)
      .describe(
        "Only what must reaches manager, gateway and etcd. The agent is on the host's network, which policies don't cover",
      ),
    apiServerPorts: z.array(port).min(1).default([443, 6443]).describe("Where the API server listens"),
    metricsFrom: passed().default([]).describe("Peers that may scrape; all where it is empty"),
    gatewayFrom: passed()
      .default([])
      .describe(
        "Peers that may reach the gateways' port; all where it is empty, as agents come from the nodes' addresses",
      ),
    managerEgress: passed()
      .default([])
      .describe(
        "Egress rules for what groups name: Prometheus, hooks, webhooks. With one, the manager reaches these, etcd, the API server and DNS, and nothing else; where it is empty, everything",
      ),
  },
  "NetworkPolicies.",
);

export const Values = z.strictObject({
  fullname: z
    .string()
    .regex(/^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$/)
    .default("slipway")
    .describe("First part of the names of all objects"),
  clusterDomain: dnsName.default("cluster.local").describe("DNS domain of the cluster, for the certificates"),
  commonLabels: mapOf(z.string()).default({}).describe("More labels of all objects"),
  crds: object(
    {
      install: z
        .boolean()
        .default(true)
        .describe(
          "Installs and upgrades the CRDs with the chart. They stay when it is uninstalled, and so do your objects",
        ),
    },
    "CustomResourceDefinitions.",
  ),
  image,
  certificates,
  manager,
  hooks,
  gateway,
  agent,
  etcd,
  networkPolicy,
  monitoring,
  tests: object(
    { deadline: duration.default("3m").describe("How long `helm test` waits for gateway and leader") },
    "`helm test`.",
  ),
  uninstall: object(
    {
      enabled: z
        .boolean()
        .default(true)
        .describe(
          "Before anything is deleted: no new slots, wait for those that are taken, then remove cordons and finalizers of ours",
        ),
      deadline: duration
        .default("4m")
        .describe(
          "How long it waits for nodes that are rebooting. Then `helm uninstall` fails, and may be tried again",
        ),
      force: z
        .boolean()
        .default(false)
        .describe("Goes on after the deadline all the same; what is under way then ends by itself, unseen"),
    },
    "`helm uninstall`. A longer deadline needs a longer `helm uninstall --timeout` too.",
  ),
  global: z
    .record(z.string(), z.unknown())
    .default({})
    .describe("For charts that contain this one; not used"),
});
