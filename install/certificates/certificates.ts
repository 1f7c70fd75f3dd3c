/**
 * Makes and renews the certificates of an installation, as Secrets and one ConfigMap. What is
 * there and good stays; what somebody else made stays whatever it is. Two that run at
 * once agree: each object is created once, and replaced by its resourceVersion.
 */
import type { Resource } from "../../api/kind.ts";
import { SERVER_NAME } from "../../gateway/certificate-authority.ts";
import { Issuer, makeAuthority, makeKey } from "../../pki/issuer.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import { CONFIG_MAPS, type ConfigMap, SECRETS, type Secret } from "../../runtime/core.ts";
import {
  type AuthorityName,
  authorityWarning,
  type Installation,
  names,
  type Wanted,
  wantedCertificates,
  whyIssue,
} from "./policy.ts";

/** Renewed when a third is left, by a job that runs every day. */
const LEAF_LIFE = 90 * 24 * 3_600_000;
/** Of two that write one object, one wins each time: so many can be at it. */
const ATTEMPTS = 8;
/** How often a Secret that somebody else makes is looked for, ms. */
const LOOK_AGAIN = 2_000;

/** On what we made. Without it an object is somebody else's, and stays as it is. */
const MANAGED_BY = "app.kubernetes.io/managed-by";
const OURS = "slipway-certificates";

export interface CertificatesOptions {
  client: Pick<KubeClient, "get" | "create" | "replace">;
  clock: Clock;
  random: Random;
  log: Logger;
  installation: Installation;
}

/** What was done with one object. */
export interface Outcome {
  name: string;
  did: "kept" | "made" | "renewed" | "left to its owner";
}

/**
 * Throws where an authority can't be used, or the API server does not let us; what does not
 * hang on that is done before. The AggregateError's message has a sentence for each.
 */
export async function keepCertificates(options: CertificatesOptions): Promise<Outcome[]> {
  const { installation, log } = options;
  const secret = names(installation.fullname);
  const wanted = wantedCertificates(installation, SERVER_NAME);
  const outcomes: Outcome[] = [];
  const failures: unknown[] = [];
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      failures.push(error);
      return undefined;
    }
  };
  const keepAll = async (authority: AuthorityName, name: string, commonName: string) => {
    const issuer = await attempt(() => keepAuthority(options, name, commonName, outcomes));
    if (issuer === undefined) return undefined;
    for (const each of wanted.filter((one) => one.authority === authority)) {
      await attempt(async () => outcomes.push(await keepCertificate(options, each, issuer)));
    }
    return issuer;
  };
  const gateway = await keepAll("gateway", secret.gatewayAuthority, "slipway machines");
  if (installation.etcdMembers > 0) await keepAll("etcd", secret.etcdAuthority, "slipway etcd");
  if (gateway !== undefined) {
    await attempt(async () => outcomes.push(await publish(options, gateway.bundle)));
  }
  if (failures.length === 0) return outcomes;
  for (const { name, did } of outcomes) log.info("certificate", { name, did });
  throw new AggregateError(failures, failures.map(sentenceOf).join("; "));
}

/**
 * For certificates that somebody else makes (cert-manager): waits at most `within` ms for the
 * gateway's, and publishes its `ca.crt` for the agents.
 */
export async function publishTrust(options: CertificatesOptions, within: number): Promise<Outcome> {
  const { client, clock, installation } = options;
  const { namespace } = installation;
  const name = names(installation.fullname).gateway;
  const end = clock.monotonic() + within;
  for (;;) {
    const found = await unlessGone(client.get<Secret>(SECRETS, { name, namespace }));
    const ca = found && decoded(found, "ca.crt");
    if (ca !== undefined) return publish(options, ca);
    if (clock.monotonic() + LOOK_AGAIN > end) {
      throw new Error(
        `Secret ${namespace}/${name} has no ca.crt after ${within / 1000} s: see why its issuer does not make it (kubectl describe certificate -n ${namespace} ${name})`,
      );
    }
    await sleep(clock, LOOK_AGAIN);
  }
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function keepAuthority(
  options: CertificatesOptions,
  name: string,
  commonName: string,
  outcomes: Outcome[],
): Promise<Issuer> {
  const { clock, random, log, installation } = options;
  const { did, object } = await keep<Secret>(options, SECRETS, name, async (found) => {
    if (found !== undefined) return undefined;
    const key = makeKey();
    const data = { "ca.crt": await makeAuthority(key, commonName, { clock, random }), "ca.key": key };
    return secretOf(options, name, "Opaque", data);
  });
  outcomes.push({ name, did });
  const [bundle, key] = [decoded(object, "ca.crt"), decoded(object, "ca.key")];
  const where = `Secret ${installation.namespace}/${name}`;
  if (bundle === undefined || key === undefined) {
    throw new Error(
      `${where} needs ca.crt and ca.key: restore them, or delete it to have another authority made`,
    );
  }
  let issuer: Issuer;
  try {
    issuer = new Issuer({ bundle, key, clock, random });
  } catch (error) {
    throw new Error(
      `${where} can't be used: ${sentenceOf(error)}; restore it, or delete it to have another authority made`,
      {
        cause: error,
      },
    );
  }
  if (issuer.end <= clock.now()) {
    throw new Error(
      `${where} ended at ${new Date(issuer.end).toISOString()}: replace it as docs/operations.md says`,
    );
  }
  const warning = authorityWarning(issuer.end, clock.now());
  if (warning !== undefined) log.error("an authority is old", new Error(warning), { secret: name });
  return issuer;
}

async function keepCertificate(
  options: CertificatesOptions,
  wanted: Wanted,
  issuer: Issuer,
): Promise<Outcome> {
  const { clock, log } = options;
  const { secret: name, commonName, uses, hosts } = wanted;
  const { did } = await keep<Secret>(options, SECRETS, name, async (found) => {
    const held = {
      certificate: found && decoded(found, "tls.crt"),
      key: found && decoded(found, "tls.key"),
      ca: found && decoded(found, "ca.crt"),
    };
    const why = whyIssue(held, wanted, issuer, clock.now());
    if (why === undefined) return undefined;
    log.info("issuing a certificate", { secret: name, because: `it ${why}` });
    const purpose = { subject: [{ CN: [commonName] }], life: LEAF_LIFE, uses, hosts };
    const { certificate, key } = await issuer.issueWithKey(purpose);
    const data = { "tls.crt": certificate, "tls.key": key, "ca.crt": issuer.bundle };
    return secretOf(options, name, "kubernetes.io/tls", data);
  });
  return { name, did };
}

async function publish(options: CertificatesOptions, ca: string): Promise<Outcome> {
  const { namespace, fullname } = options.installation;
  const name = names(fullname).gatewayTrust;
  const { did } = await keep<ConfigMap>(options, CONFIG_MAPS, name, async (found) =>
    found?.data?.["ca.crt"] === ca
      ? undefined
      : { apiVersion: "v1", kind: "ConfigMap", metadata: metadata(namespace, name), data: { "ca.crt": ca } },
  );
  return { name, did };
}

/** `decide` gives the object that ought to be there, or undefined where the found one stays. */
async function keep<T extends Secret | ConfigMap>(
  { client, installation }: CertificatesOptions,
  resource: Resource,
  name: string,
  decide: (found: T | undefined) => Promise<T | undefined>,
): Promise<{ did: Outcome["did"]; object: T }> {
  const { namespace } = installation;
  for (let attempt = 1; ; attempt++) {
    try {
      const found = await unlessGone(client.get<T>(resource, { name, namespace }));
      if (found !== undefined && found.metadata.labels?.[MANAGED_BY] !== OURS) {
        return { did: "left to its owner", object: found };
      }
      const wanted = await decide(found);
      if (wanted === undefined && found !== undefined) return { did: "kept", object: found };
      if (wanted === undefined) throw new Error(`nothing is wanted of ${resource.kind} ${name}`);
      if (found === undefined) return { did: "made", object: await client.create<T>(resource, wanted) };
      const { resourceVersion, uid, labels } = found.metadata;
      const compared = {
        ...wanted.metadata,
        labels: { ...labels, ...wanted.metadata.labels },
        resourceVersion,
        uid,
      };
      const object = await client.replace<T>(resource, { ...wanted, metadata: compared });
      return { did: "renewed", object };
    } catch (error) {
      // Another one was faster: what it wrote is judged anew.
      if (attempt < ATTEMPTS && isApiError(error, "AlreadyExists", "Conflict", "NotFound")) continue;
      throw error;
    }
  }
}

async function unlessGone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isApiError(error, "NotFound")) return undefined;
    throw error;
  }
}

function secretOf(
  { installation }: CertificatesOptions,
  name: string,
  type: string,
  files: Record<string, string>,
): Secret {
  const data = Object.fromEntries(
    Object.entries(files).map(([file, text]) => [file, Buffer.from(text).toString("base64")]),
  );
  return { apiVersion: "v1", kind: "Secret", type, metadata: metadata(installation.namespace, name), data };
}

function metadata(namespace: string, name: string) {
  return { name, namespace, labels: { [MANAGED_BY]: OURS, "app.kubernetes.io/part-of": "slipway" } };
}

function decoded({ data }: Secret, file: string): string | undefined {
  const text = data?.[file];
  return text === undefined || text === "" ? undefined : Buffer.from(text, "base64").toString();
}
