/** Workloads of the tests on real nodes. */
import type { KubeObject } from "../../api/meta.ts";
import { WEB_IMAGE } from "../../hack/real/images.ts";

type Manifest = KubeObject & { spec: object };

const PORT = 8080;

function podTemplate(name: string): object {
  return {
    metadata: { labels: { app: name } },
    spec: {
      terminationGracePeriodSeconds: 5,
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
          readinessProbe: { httpGet: { path: "/", port: PORT }, periodSeconds: 1 },
        },
      ],
    },
  };
}

/** A web server with `replicas` Pods, one a node, that answers with the Pod's name. */
export function webDeployment(name: string, replicas: number): Manifest {
  const template = podTemplate(name) as { spec: object };
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
