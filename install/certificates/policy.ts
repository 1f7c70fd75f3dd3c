/** Which certificates an installation needs, and whether one that is there still does. */
import { createPrivateKey, X509Certificate } from "node:crypto";

/** What was installed, as the certificates have to name it. */
export interface Installation {
  namespace: string;
  /** First part of every name. */
  fullname: string;
  /** DNS names and addresses under which agents outside of the cluster reach the gateways. */
  gatewayNames: readonly string[];
  /** Members of the embedded etcd; 0 where it is not ours. */
  etcdMembers: number;
  /** "cluster.local" */
  clusterDomain: string;
}

/** Who signs: etcd has an authority of its own, because the gateway's also signs machines, which must not reach etcd. */
export type AuthorityName = "gateway" | "etcd";

/** A Secret with `tls.crt`, `tls.key` and `ca.crt`. */
export interface Wanted {
  secret: string;
  authority: AuthorityName;
  commonName: string;
  uses: readonly ("server" | "client")[];
  hosts: readonly string[];
}

/** Names of the Secrets and the ConfigMap. */
export function names(fullname: string) {
  return {
    gatewayAuthority: `${fullname}-ca`,
    gateway: `${fullname}-gateway-tls`,
    gatewayTrust: `${fullname}-gateway-ca`,
    etcdAuthority: `${fullname}-etcd-ca`,
    etcdServer: `${fullname}-etcd-server`,
    etcdPeer: `${fullname}-etcd-peer`,
    etcdClient: `${fullname}-etcd-client`,
  } as const;
}

/** Common name of the members among themselves: etcd's `--peer-cert-allowed-cn`. */
export const PEER_NAME = "slipway-etcd-peer";

/**
 * `serverName` is in every gateway's certificate. A client of etcd has no host name: etcd
 * would look it up and compare it with where the connection comes from.
 */
export function wantedCertificates(installation: Installation, serverName: string): Wanted[] {
  const { fullname, gatewayNames, etcdMembers } = installation;
  const secret = names(fullname);
  const gateway: Wanted = {
    secret: secret.gateway,
    authority: "gateway",
    commonName: serverName,
    uses: ["server"],
    hosts: [...new Set([serverName, ...serviceNames(installation, `${fullname}-gateway`), ...gatewayNames])],
  };
  if (etcdMembers === 0) return [gateway];
  const service = `${fullname}-etcd`;
  const members = Array.from({ length: etcdMembers }, (_, member) => `${service}-${member}`).flatMap((pod) =>
    serviceNames(installation, service).map((name) => `${pod}.${name}`),
  );
  return [
    gateway,
    {
      secret: secret.etcdServer,
      authority: "etcd",
      commonName: "slipway-etcd",
      uses: ["server"],
      hosts: [...members, ...serviceNames(installation, service), "localhost", "127.0.0.1", "::1"],
    },
    {
      secret: secret.etcdPeer,
      authority: "etcd",
      commonName: PEER_NAME,
      uses: ["server", "client"],
      hosts: members,
    },
    {
      secret: secret.etcdClient,
      authority: "etcd",
      commonName: "slipway-etcd-client",
      uses: ["client"],
      hosts: [],
    },
  ];
}

function serviceNames({ namespace, clusterDomain }: Installation, service: string): string[] {
  return [
    service,
    `${service}.${namespace}`,
    `${service}.${namespace}.svc`,
    `${service}.${namespace}.svc.${clusterDomain}`,
  ];
}

/** What a Secret holds, PEM; undefined where a file is missing. */
export interface Found {
  certificate: string | undefined;
  key: string | undefined;
  ca: string | undefined;
}

/**
 * Why a certificate has to be issued, as the end of "it ..."; undefined where the one that is
 * there stays. `trusted` are the certificates of its authority, `bundle` their PEM.
 */
export function whyIssue(
  found: Found,
  wanted: Pick<Wanted, "hosts" | "commonName">,
  { trusted, bundle }: { trusted: readonly X509Certificate[]; bundle: string },
  now: number,
): string | undefined {
  const { certificate: pem, key, ca } = found;
  if (pem === undefined || key === undefined) return "is not there";
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
    if (!certificate.checkPrivateKey(createPrivateKey(key))) return "does not fit its key";
  } catch {
    return "can't be read";
  }
  const ours = trusted.some(
    (authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey),
  );
  if (!ours) return "was signed by another authority";
  if (ca !== bundle) return "comes with another ca.crt than the authority's";
  if (certificate.subject !== `CN=${wanted.commonName}`) return `does not name ${wanted.commonName}`;
  const missing = wanted.hosts.filter((host) => !covers(certificate, host));
  if (missing.length > 0) return `lacks ${missing.slice(0, 3).join(", ")}`;
  const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
  if (now >= to) return `ended at ${certificate.validToDate.toISOString()}`;
  if (to - now < (to - from) / 3) return `ends at ${certificate.validToDate.toISOString()}`;
  return undefined;
}

/** Whether the certificate names `host` as it is written: a wildcard only as itself. */
function covers(certificate: X509Certificate, host: string): boolean {
  // IPv4 or IPv6, as no DNS name looks; checkIP() throws for others.
  if (/^[\d.]+$|:/.test(host)) return certificate.checkIP(host) !== undefined;
  const named = certificate.subjectAltName?.split(", ") ?? [];
  return named.some((name) => name.toLowerCase() === `dns:${host.toLowerCase()}`);
}

/** What a person has to know of an authority that ends; undefined while a year or more is left. */
export function authorityWarning(end: number, now: number): string | undefined {
  const year = 365 * 24 * 3_600_000;
  if (end - now >= year) return undefined;
  return `it ends at ${new Date(end).toISOString()}; replace it as docs/operations.md says`;
}
