/** `slipway gateway`: the flags, and the process's own implementations of the ports. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { Command, Option } from "commander";
import * as z from "zod";
import { createCoordination } from "../coordination/create.ts";
import { addEtcdFlags, EtcdFlags, openEtcd } from "../coordination/etcd-flags.ts";
import { EtcdHealth } from "../coordination/etcd-health.ts";
import { meterEtcd } from "../coordination/etcd-metrics.ts";
import { parseKeys } from "../pki/machine-credentials.ts";
import { parseAddress } from "../ports/address.ts";
import { type Clock, systemClock } from "../ports/clock.ts";
import { jsonLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import { createFetcher } from "../runtime/fetch.ts";
import { loadKubeConfig } from "../runtime/kubeconfig.ts";
import { observeProcess } from "../runtime/metrics.ts";
import { createRestClient } from "../runtime/rest-client.ts";
import { addConsoleFlags, ConsoleFlags, consoleSettings } from "./console/flags.ts";
import { TrustedProxies } from "./edge/client-address.ts";
import { startGateway } from "./gateway.ts";
import { PayloadFolder } from "./payloads/folder.ts";
import { OciRepository } from "./payloads/oci.ts";
import type { PayloadSource } from "./payloads/source.ts";

/** TokenReviews a second, and at once after a quiet time: when a fleet comes back, there is one for each agent. */
const REVIEW_RATE = 100;
const REVIEW_BURST = 300;

const list = z.string().transform((text) =>
  text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== ""),
);

function proxiesOf(networks: readonly string[]): TrustedProxies {
  try {
    return new TrustedProxies(networks);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new Error(`--trusted-proxies: ${error.message}`, { cause: error });
  }
}

const Flags = EtcdFlags.and(ConsoleFlags).and(
  z.object({
    listen: z.string().transform(parseAddress),
    metrics: z.string().transform(parseAddress).optional(),
    machines: z.string().transform(parseAddress).optional(),
    machinesTls: z.boolean().optional(),
    machinesKey: z.string().optional(),
    machinesClientCa: z.string().optional(),
    registry: list
      .refine((names) => names.every((name) => /^[a-z0-9-]{1,63}$/.test(name)), {
        error: "--registry: names of letters, digits and dashes expected",
      })
      .optional(),
    registryPlain: z.string().transform(parseAddress).optional(),
    payloads: z.string().optional(),
    payloadsUpload: z.boolean().optional(),
    payloadsOci: z
      .string()
      .regex(/^https?:\/\/[^\s?#@]+\/[^\s?#@]+$/, {
        error:
          "--payloads-oci: the URL of a repository expected, such as https://registry.example.org/flatcar",
      })
      .optional(),
    payloadsOciAuth: z.string().optional(),
    trustedProxies: list.transform(proxiesOf).optional(),
    publicUrl: z
      .string()
      .regex(/^https?:\/\/[^\s?#]+$/, {
        error: "--public-url: a URL that starts with http:// or https:// expected",
      })
      .transform((url) => url.replace(/\/+$/, ""))
      .optional(),
    coreupdate: z.string().optional(),
    kubeconfig: z.string().optional(),
    certDir: z.string(),
    advertise: list,
    serviceAccount: list.refine((accounts) => accounts.every((account) => /^[^:]+:[^:]+$/.test(account)), {
      error: "--service-account: NAMESPACE:NAME expected",
    }),
    audience: z.string(),
    name: z.string(),
  }),
);

export function gatewayCommand(): Command {
  const command = new Command("gateway")
    .description("Terminates the protocols that machines speak.")
    .option("--listen <address>", "[HOST]:PORT for agents", ":7443")
    .option("--metrics <address>", "[HOST]:PORT for /metrics, /healthz and /readyz")
    .option(
      "--machines <address>",
      "[HOST]:PORT for machines without our agent: FleetLock and Omaha over HTTP",
    )
    .option("--machines-tls", "serve --machines with the gateway's own certificate")
    .option(
      "--machines-key <file>",
      "keys of the secrets that such machines show, base64, one in a line, newest first",
    )
    .option(
      "--machines-client-ca <file>",
      "authorities of certificates that such machines may show in place of a secret, and lists of revoked ones, in PEM; needs --machines-tls",
    )
    .option(
      "--registry <list>",
      "key spaces that --machines serves by etcd's v2 API, comma-separated; the secret of one is that of the group registry/NAME",
    )
    .option(
      "--registry-plain <address>",
      "[HOST]:PORT that serves the first of them to all that reach it, without a secret",
    )
    .option("--payloads <dir>", "directory that --machines serves under /payloads/ to all that reach it")
    .option(
      "--payloads-upload",
      "let --coreupdate put files into --payloads: updateservicectl package upload",
    )
    .option(
      "--payloads-oci <url>",
      "repository of an OCI registry that --machines serves under /payloads/, too: RELEASE/ARCHITECTURE/FILE is the layer titled FILE of the tag RELEASE-ARCHITECTURE",
    )
    .option("--payloads-oci-auth <file>", "user:password for that registry; anonymous without")
    .option(
      "--public-url <url>",
      "base of the URLs under which machines reach --machines: what {gateway} stands for in a Release",
    )
    .option(
      "--trusted-proxies <list>",
      "addresses and networks such as 10.0.0.0/8, comma-separated: what they say in X-Forwarded-For is believed, on --machines and --console",
    )
    .option(
      "--coreupdate <file>",
      "users of CoreUpdate's API, which --machines serves then for updateservicectl (docs/coreupdate.md)",
    )
    .option("--kubeconfig <file>", "for TokenReview (default: the Pod's own service account)")
    .requiredOption("--cert-dir <dir>", "ca.crt, ca.key and tls.crt, tls.key; what is missing is made")
    .option(
      "--advertise <list>",
      "DNS names and addresses for a server certificate that we make",
      "localhost",
    )
    .requiredOption("--service-account <list>", "NAMESPACE:NAME that agents run as, comma-separated")
    .option("--audience <name>", "audience of the agents' tokens", "slipway")
    .addOption(
      new Option("--name <name>", "name of this gateway in records and logs").default(
        hostname(),
        "host name",
      ),
    );
  return addConsoleFlags(addEtcdFlags(command)).action(async (options: unknown) => {
    const flags = Flags.safeParse(options);
    if (!flags.success) throw new Error(flags.error.issues.map(({ message }) => message).join("; "));
    await run(flags.data);
  });
}

async function run(flags: z.output<typeof Flags>): Promise<void> {
  if (flags.machines === undefined) {
    const needing = {
      coreupdate: "--coreupdate",
      registry: "--registry",
      payloads: "--payloads",
      machinesClientCa: "--machines-client-ca",
    } as const;
    for (const [name, flag] of Object.entries(needing)) {
      if (flags[name as keyof typeof needing] !== undefined)
        throw new Error(`${flag}: its port is that of --machines, which is missing`);
    }
  }
  if (flags.machinesClientCa !== undefined && flags.machinesTls !== true)
    throw new Error("--machines-client-ca: certificates are shown in TLS, and --machines-tls is missing");
  if (flags.registryPlain !== undefined && flags.registry === undefined)
    throw new Error("--registry-plain: --registry names the key space that it serves, and is missing");
  if (flags.payloadsUpload === true && (flags.payloads === undefined || flags.coreupdate === undefined))
    throw new Error(
      "--payloads-upload: it needs --payloads, where files go, and --coreupdate, by which they come",
    );
  const [clock, random] = [systemClock, systemRandom];
  const log = jsonLogger(clock, (line) => process.stdout.write(line), { role: "gateway" });
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort());
  const config = loadKubeConfig(flags.kubeconfig, { clock, log });
  const rest = { clock, random, rate: REVIEW_RATE, burst: REVIEW_BURST, userAgent: "slipway-gateway" };
  const client = createRestClient(config, rest);
  const closing: (() => Promise<void>)[] = [() => client.close()];
  const forPeople = consoleSettings(
    flags,
    (ca) => {
      const fetcher = createFetcher(ca);
      closing.push(() => fetcher.close());
      return fetcher;
    },
    dirname(process.argv[1] ?? "."),
  );
  const asked = forPeople !== undefined || flags.coreupdate !== undefined;
  const people = asked ? createRestClient(config, rest) : undefined;
  if (people !== undefined) closing.push(() => people.close());
  const { etcd, observe } = meterEtcd(openEtcd(flags, { clock, random }));
  const etcdHealth = new EtcdHealth({ etcd, clock, log });
  void etcdHealth.run(stop.signal);
  const { etcdCert } = flags;
  const payloads = payloadSources(flags, clock);
  try {
    const gateway = await startGateway({
      client,
      etcd,
      coordination: createCoordination({ etcd, clock, random, log }),
      listen: flags.listen,
      ...(flags.metrics === undefined ? {} : { health: flags.metrics }),
      ...(flags.machines === undefined
        ? {}
        : {
            edge: {
              etcd,
              listen: flags.machines,
              tls: flags.machinesTls ?? false,
              keys: flags.machinesKey === undefined ? [] : parseKeys(readFileSync(flags.machinesKey, "utf8")),
              ...(flags.machinesClientCa === undefined ? {} : { clientAuthorities: flags.machinesClientCa }),
              ...(payloads.length === 0 ? {} : { payloads }),
              ...(flags.publicUrl === undefined ? {} : { publicUrl: flags.publicUrl }),
              ...(flags.registry === undefined
                ? {}
                : {
                    registry: {
                      ...{ etcd, client, spaces: flags.registry },
                      ...(flags.registryPlain === undefined ? {} : { plain: flags.registryPlain }),
                    },
                  }),
              ...(flags.coreupdate === undefined || people === undefined
                ? {}
                : {
                    coreupdate: {
                      ...{ usersFile: flags.coreupdate, client: people },
                      ...(flags.payloadsUpload === true && flags.payloads !== undefined
                        ? { uploads: flags.payloads }
                        : {}),
                    },
                  }),
            },
          }),
      ...(forPeople === undefined || people === undefined
        ? {}
        : { console: { ...forPeople, client: people, etcd } }),
      ...(flags.trustedProxies === undefined ? {} : { proxies: flags.trustedProxies }),
      certificateDirectory: flags.certDir,
      hosts: flags.advertise,
      serviceAccounts: flags.serviceAccount,
      audience: flags.audience,
      told: new Map([["etcd", () => etcdHealth.wrong]]),
      name: flags.name,
      ...(etcdCert === undefined
        ? {}
        : { otherCertificates: () => [["etcd-client", readFileSync(etcdCert, "utf8")] as const] }),
      clock,
      random,
      log,
    });
    observe(gateway.metrics.registry);
    const unobserve = observeProcess(gateway.metrics.registry, { role: "gateway", version: "0.1.0" });
    await new Promise<void>((resolve) => {
      if (stop.signal.aborted) resolve();
      stop.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await gateway.stop();
    unobserve();
  } finally {
    stop.abort();
    await etcd.close();
    await Promise.all(closing.map((close) => close()));
  }
}

function payloadSources(
  { payloads, payloadsOci, payloadsOciAuth }: z.output<typeof Flags>,
  clock: Clock,
): PayloadSource[] {
  const credentials =
    payloadsOciAuth === undefined
      ? {}
      : { credentials: () => readFileSync(payloadsOciAuth, "utf8").trimEnd() };
  return [
    ...(payloads === undefined ? [] : [new PayloadFolder(payloads, clock)]),
    ...(payloadsOci === undefined
      ? []
      : [new OciRepository({ repository: payloadsOci, clock, ...credentials })]),
  ];
}
