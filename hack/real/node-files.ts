/** What a node finds in /etc: settings and identities of containerd, its network plugin, kubelet and kube-proxy. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { KeyPair } from "../plane/pki.ts";
import { BOX_ADDRESS, CLUSTER_DOMAIN, type Place, POD_RANGE } from "./network.ts";

export interface NodeFiles {
  name: string;
  place: Place;
  /** Authority of the cluster, PEM. */
  ca: string;
  /** The kubelet's serving certificate. */
  serving: KeyPair;
  /** Kubeconfigs as JSON: of system:node:NAME, and of kube-proxy. */
  kubelet: string;
  kubeProxy: string;
  /** The agent's public keys, JSON. */
  trust: string;
  /** The image that holds a Pod's namespaces. */
  pause: string;
}

/** Writes the files into the folder `etc`. */
export function writeNodeFiles(etc: string, node: NodeFiles): void {
  const files: Record<string, string | object> = {
    passwd: "root:x:0:0:root:/root:/bin/sh\n",
    group: "root:x:0:\n",
    hosts: `127.0.0.1 localhost\n${node.place.address} ${node.name}\n`,
    "resolv.conf": `nameserver ${BOX_ADDRESS}\n`,
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "slipway/trust.json": node.trust,
    "containerd/config.toml": containerd(node.pause),
    "cni/net.d/10-bridge.conflist": cni(node.place),
    "kubernetes/ca.crt": node.ca,
    "kubernetes/kubelet.crt": node.serving.certificate,
    "kubernetes/kubelet.key": node.serving.key,
    "kubernetes/kubelet.kubeconfig": node.kubelet,
    "kubernetes/kube-proxy.kubeconfig": node.kubeProxy,
    "kubernetes/kubelet.yaml": kubelet(node.place),
    "kubernetes/kube-proxy.yaml": kubeProxy(),
  };
  for (const [path, content] of Object.entries(files)) {
    const file = join(etc, path);
    mkdirSync(dirname(file), { recursive: true });
    // JSON is YAML.
    writeFileSync(file, typeof content === "string" ? content : `${JSON.stringify(content, null, 2)}\n`, {
      mode: path.endsWith(".key") || path.endsWith(".kubeconfig") ? 0o600 : 0o644,
    });
  }
}

/** restrict_oom_score_adj: a container of ours may lack CAP_SYS_RESOURCE, and runc then dies. */
function containerd(pause: string): string {
  return `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "${pause}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "/usr/sbin/runc"
SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "/etc/cni/net.d"
`;
}

function cni(place: Place): object {
  return {
    cniVersion: "1.0.0",
    name: "pods",
    plugins: [
      {
        type: "bridge",
        bridge: "cni0",
        isGateway: true,
        hairpinMode: true,
        ipMasq: false,
        ipam: {
          type: "host-local",
          ranges: [[{ subnet: place.podRange }]],
          routes: [{ dst: "0.0.0.0/0" }],
          dataDir: "/run/cni",
        },
      },
    ],
  };
}

/** Quick settings: a lost node is noticed within seconds; both sides need them, see hack/plane/components.ts. */
function kubelet(place: Place): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: place.address,
    failCgroupV1: false,
    cgroupDriver: "cgroupfs",
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    healthzBindAddress: "127.0.0.1",
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: "/etc/kubernetes/ca.crt" },
    },
    authorization: { mode: "Webhook" },
    tlsCertFile: "/etc/kubernetes/kubelet.crt",
    tlsPrivateKeyFile: "/etc/kubernetes/kubelet.key",
    clusterDNS: [BOX_ADDRESS],
    clusterDomain: CLUSTER_DOMAIN,
    resolvConf: "/etc/resolv.conf",
    failSwapOn: false,
    // Images are there from the start and come from nowhere else.
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    evictionHard: {
      "memory.available": "0%",
      "nodefs.available": "0%",
      "nodefs.inodesFree": "0%",
      "imagefs.available": "0%",
    },
    nodeLeaseDurationSeconds: 4,
    nodeStatusUpdateFrequency: "1s",
    nodeStatusReportFrequency: "10s",
    syncFrequency: "5s",
    shutdownGracePeriod: "0s",
    registryPullQPS: 0,
    eventRecordQPS: 0,
    serializeImagePulls: false,
  };
}

function kubeProxy(): object {
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clientConnection: { kubeconfig: "/etc/kubernetes/kube-proxy.kubeconfig" },
    clusterCIDR: POD_RANGE,
    healthzBindAddress: "127.0.0.1:10256",
    metricsBindAddress: "127.0.0.1:10249",
    // Zero leaves the machine's own settings alone.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    nftables: { syncPeriod: "10s", minSyncPeriod: "100ms" },
  };
}
