/** Command lines of the control plane. The settings are quick ones: a lost node is noticed after 8 s, not 40. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Authority, serviceAccountKeys } from "./pki.ts";

export type Component = "etcd" | "kube-apiserver" | "kube-controller-manager" | "kube-scheduler" | "kwok";

/** In the order of their start. */
export const COMPONENTS: readonly Component[] = [
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kwok",
];

/**
 * The label (any value) of the Nodes whose Pods kwok plays. Whoever plays the machine sets it
 * when its kubelet runs and removes it when it doesn't: the Pods of a dead machine stay as they
 * were, and new ones stay Pending. kwok never writes the Node itself or its lease.
 */
export const PLAYED_LABEL = "slipway.dev/kubelet";

/** A node is NotReady when its lease was not renewed for so long, milliseconds. */
const NODE_GRACE_PERIOD = 8_000;
/** Default toleration of a Pod on a lost node, seconds. */
const EVICT_AFTER = 3;
/** The default of 20 queries per second makes 300 Pods take 14 s. */
const QPS = ["--kube-api-qps=500", "--kube-api-burst=1000"];
/** kwok gives Pods addresses from here; nothing answers there. */
const POD_RANGE = "10.244.0.0/16";

/** Where the API server listens. */
export interface Endpoint {
  /** IPv4. Not of the loopback: kubelets reach it, and it reaches them. */
  address: string;
  port: number;
}

/** Paths inside the directory of a plane. */
export function layout(directory: string) {
  const at = (name: string): string => join(directory, name);
  return {
    etcdSocket: at("etcd.sock"),
    etcdPeerSocket: at("peer.sock"),
    etcdData: at("etcd"),
    ca: at("ca.crt"),
    serverCertificate: at("apiserver.crt"),
    serverKey: at("apiserver.key"),
    tokenKey: at("service-account.key"),
    tokenPublicKey: at("service-account.pub"),
    kubeletClientCertificate: at("kubelet-client.crt"),
    kubeletClientKey: at("kubelet-client.key"),
    kubeconfig: (name: string): string => at(`${name}.kubeconfig`),
    log: (component: Component): string => at(`${component}.log`),
  };
}

/** Writes the authority, the API server's certificates and the keys of service account tokens. */
export async function writePki(directory: string, address: string): Promise<Authority> {
  const paths = layout(directory);
  const authority = await Authority.create("slipway-local");
  const server = await authority.issue({
    commonName: "kube-apiserver",
    hosts: [
      ...new Set(["127.0.0.1", address]),
      "localhost",
      "10.96.0.1",
      "kubernetes",
      "kubernetes.default",
      "kubernetes.default.svc",
    ],
  });
  const kubeletClient = await authority.issue({
    commonName: "kube-apiserver-kubelet-client",
    organizations: ["system:masters"],
  });
  const tokens = serviceAccountKeys();
  const secret = { mode: 0o600 };
  await Promise.all([
    writeFile(paths.ca, authority.certificate),
    writeFile(paths.serverCertificate, server.certificate),
    writeFile(paths.serverKey, server.key, secret),
    writeFile(paths.kubeletClientCertificate, kubeletClient.certificate),
    writeFile(paths.kubeletClientKey, kubeletClient.key, secret),
    writeFile(paths.tokenKey, tokens.privateKey, secret),
    writeFile(paths.tokenPublicKey, tokens.publicKey),
  ]);
  return authority;
}

/** Arguments of a component whose plane lives in `directory` and serves at `endpoint`. */
export function componentArgs(component: Component, directory: string, endpoint: Endpoint): string[] {
  const paths = layout(directory);
  const { address, port } = endpoint;
  switch (component) {
    case "etcd":
      return [
        `--data-dir=${paths.etcdData}`,
        `--listen-client-urls=unix://${paths.etcdSocket}`,
        `--advertise-client-urls=unix://${paths.etcdSocket}`,
        `--listen-peer-urls=unix://${paths.etcdPeerSocket}`,
        "--initial-advertise-peer-urls=http://127.0.0.1:1",
        "--initial-cluster=default=http://127.0.0.1:1",
        "--unsafe-no-fsync",
      ];
    case "kube-apiserver":
      return [
        `--bind-address=${address}`,
        `--advertise-address=${address}`,
        `--secure-port=${port}`,
        `--etcd-servers=unix://${paths.etcdSocket}`,
        `--tls-cert-file=${paths.serverCertificate}`,
        `--tls-private-key-file=${paths.serverKey}`,
        `--client-ca-file=${paths.ca}`,
        "--service-account-issuer=https://kubernetes.default.svc",
        `--service-account-key-file=${paths.tokenPublicKey}`,
        `--service-account-signing-key-file=${paths.tokenKey}`,
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        ...(hasKubelets(endpoint) ? kubeletArgs(paths) : ["--endpoint-reconciler-type=none"]),
        `--default-not-ready-toleration-seconds=${EVICT_AFTER}`,
        `--default-unreachable-toleration-seconds=${EVICT_AFTER}`,
      ];
    case "kube-controller-manager":
      return [
        `--kubeconfig=${paths.kubeconfig("kube-controller-manager")}`,
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--secure-port=0",
        `--service-account-private-key-file=${paths.tokenKey}`,
        `--root-ca-file=${paths.ca}`,
        `--node-monitor-grace-period=${NODE_GRACE_PERIOD}ms`,
        "--node-monitor-period=500ms",
        // The default evicts from one lost node per ten seconds.
        "--node-eviction-rate=10",
        ...QPS,
      ];
    case "kube-scheduler":
      return [
        `--kubeconfig=${paths.kubeconfig("kube-scheduler")}`,
        "--leader-elect=false",
        "--secure-port=0",
        ...QPS,
      ];
    case "kwok":
      return [
        `--kubeconfig=${paths.kubeconfig("kwok")}`,
        `--config=${join(import.meta.dirname, "kwok/node.yaml")}`,
        `--config=${join(import.meta.dirname, "kwok/pod.yaml")}`,
        `--manage-nodes-with-label-selector=${PLAYED_LABEL}`,
        "--node-lease-duration-seconds=0",
        `--cidr=${POD_RANGE}`,
      ];
  }
}

/** On the loopback there are none. */
function hasKubelets({ address }: Endpoint): boolean {
  return !address.startsWith("127.");
}

/** How the API server reaches kubelets, and webhooks where it has no kube-proxy. */
function kubeletArgs(paths: ReturnType<typeof layout>): string[] {
  return [
    `--kubelet-client-certificate=${paths.kubeletClientCertificate}`,
    `--kubelet-client-key=${paths.kubeletClientKey}`,
    `--kubelet-certificate-authority=${paths.ca}`,
    "--kubelet-preferred-address-types=InternalIP",
    "--enable-aggregator-routing=true",
  ];
}
