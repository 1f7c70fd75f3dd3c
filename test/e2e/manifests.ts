/** Workloads of the tests on real nodes. */
import type { KubeObject } from "../../api/meta.ts";
import { WEB_IMAGE } from "../../hack/real/images.ts";

type Manifest = KubeObject & { spec: object };

const PORT = 8080;

/** A Pod that takes `seconds` to leave. */
function podTemplate(name: string, seconds = 4): object {
  return {
    metadata: { labels: { app: name } },
    spec: {
      terminationGracePeriodSeconds: seconds + 4,
      containers: [
        {
          name: "web",
          image: WEB_IMAGE,
          imagePullPolicy: "Never",
          args: [
            "sh",
            "-c",
            `mkdir /www && hostname >/www/index.html && exec busybox httpd -f -p ${PORT} -h /www`,
          ],
          ports: [{ containerPort: PORT }],
          // As every server does that loses no request: it ends after those who ask it have noticed.
          lifecycle: { preStop: { sleep: { seconds } } },
          // A node that stands still for a second is not away.
          readinessProbe: { httpGet: { path: "/", port: PORT }, periodSeconds: 1, timeoutSeconds: 5 },
        },
      ],
    },
  };
}

/** A web server with `replicas` Pods, one a node, that answers with the Pod's name; `seconds` is what a Pod takes to leave. */
export function webDeployment(name: string, replicas: number, seconds?: number): Manifest {
  const template = podTemplate(name, seconds) as { spec: object };
  const spread = {
    topologyKey: "kubernetes.io/hostname",
    maxSkew: 1,
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: { app: name } },
  };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace: "default" },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { ...template, spec: { ...template.spec, topologySpreadConstraints: [spread] } },
    },
  };
}

/** Lets one Pod of `name` be away. */
export function disruptionBudget(name: string): Manifest {
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name, namespace: "default" },
    spec: { maxUnavailable: 1, selector: { matchLabels: { app: name } } },
  };
}

export function webDaemonSet(name: string): Manifest {
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name, namespace: "default" },
    spec: { selector: { matchLabels: { app: name } }, template: podTemplate(name) },
  };
}

export function service(name: string): Manifest {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: { selector: { app: name }, ports: [{ port: 80, targetPort: PORT }] },
  };
}

/** A privileged Pod a node that has the host's root directory at /host and its /dev, as the agent's have. */
export function hostDaemonSet(name: string): Manifest {
  const volumes = { host: "/", dev: "/dev" };
  const at = { host: "/host", dev: "/dev" };
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name, namespace: "default" },
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          hostPID: true,
          hostNetwork: true,
          containers: [
            {
              name: "host",
              image: WEB_IMAGE,
              imagePullPolicy: "Never",
              args: ["sh", "-c", "exec busybox sleep 86400"],
              securityContext: { privileged: true },
              volumeMounts: Object.entries(at).map(([volume, mountPath]) => ({
                name: volume,
                mountPath,
                mountPropagation: "HostToContainer",
              })),
            },
          ],
          volumes: Object.entries(volumes).map(([volume, path]) => ({ name: volume, hostPath: { path } })),
        },
      },
    },
  };
}
