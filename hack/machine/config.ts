/** What a reference machine is told when it is built. Times in milliseconds, paths absolute. */
export interface MachineConfig {
  name: string;
  /** Everything of this machine lies here: disk, control socket, boot log, the files of the present boot. */
  directory: string;
  machineId: string;
  zone: string;
  /** Loopback address of this machine's own services. */
  address: string;
  servicePort: number;
  /** `host:port` list of the gateways. */
  gateway: string;
  /** PEM of the gateway's issuer. */
  gatewayCa: string;
  /** Public keys that this machine trusts (agent flag --trust). */
  trust: string;
  /** Node identity: a kubeconfig as system:node:NAME. Absent: a plain machine. */
  kubeconfig?: string;
  /** Labels that the kubelet gives its Node at registration. */
  labels?: Record<string, string>;
  /** Plain machine: file with the join token. */
  joinToken?: string;
  driver: "fastpatch" | "sentinel";
  /** A node with containers boots, in a box (hack/real/). Absent: the slot's agent and service as processes. */
  node?: NodeConfig;
  /** `host:port` of the agent's metrics; none if absent. */
  agentMetrics?: string;
  /** From power-on to the first user process. */
  bootTime: number;
  /** From a reboot's power-off to the next power-on. */
  offTime: number;
}

/** What a node with containers is made of; the machine runs inside the box. */
export interface NodeConfig {
  /** Cgroup of its processes, relative to each hierarchy's root. */
  slice: string;
  /** Hierarchies of cgroup v1. */
  hierarchies: string[];
  /** The box's end of its cable. */
  cable: string;
  /** Beyond its own network: `RANGE=ADDRESS`. */
  routes: string[];
  /** The folder that becomes /etc. */
  settings: string;
  /** Programs that become /opt/bin. */
  programs: string[];
}

/** Paths under `directory`. */
export const paths = (directory: string) => ({
  disk: `${directory}/disk.img`,
  control: `${directory}/control.sock`,
  bootLog: `${directory}/boot.log`,
  bootId: `${directory}/boot-id`,
  machineId: `${directory}/machine-id`,
  root: `${directory}/root`,
  token: `${directory}/token`,
  hook: `${directory}/hook`,
  identity: `${directory}/identity`,
  commands: `${directory}/commands.json`,
  sentinel: `${directory}/reboot-required`,
  /** Outlives boots, as /var does. */
  cache: `${directory}/cache`,
  log: `${directory}/console.log`,
});
