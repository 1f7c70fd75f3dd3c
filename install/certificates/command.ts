/** `slipway certificates`: the flags. Run at each installation and upgrade, and every day. */
import { isIP } from "node:net";
import { Command, InvalidArgumentError } from "commander";
import * as z from "zod";
import { systemClock } from "../../ports/clock.ts";
import { jsonLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient } from "../../runtime/rest-client.ts";
import { keepCertificates, publishTrust } from "./certificates.ts";

/** A quorum of more members answers no faster. */
const MOST_MEMBERS = 7;
/** cert-manager has so long to make the first certificate, ms. */
const ISSUED_WITHIN = 300_000;

const Flags = z.object({
  kubeconfig: z.string().optional(),
  namespace: z.string().min(1),
  fullname: z.string().min(1),
  gatewayName: z.array(z.string()),
  etcdMembers: z.number(),
  clusterDomain: z.string().min(1),
  publishOnly: z.boolean(),
});

export function certificatesCommand(): Command {
  return new Command("certificates")
    .description("Makes and renews the certificates of an installation; what is there and good stays.")
    .option("--kubeconfig <file>", "kubeconfig (default: the Pod's own service account)")
    .requiredOption("--namespace <name>", "namespace of the installation")
    .option("--fullname <name>", "first part of the names of its objects", "slipway")
    .option(
      "--gateway-name <name>",
      "DNS name or address under which machines outside of the cluster reach a gateway; may be given more than once",
      hosts,
      [],
    )
    .option("--etcd-members <number>", "members of the embedded etcd; 0 where there is none", members, 0)
    .option("--cluster-domain <name>", "DNS domain of the cluster", "cluster.local")
    .option(
      "--publish-only",
      "only publish the ca.crt of the gateway's certificate, which somebody else makes",
      false,
    )
    .action(async (options: unknown) => {
      await run(Flags.parse(options));
    });
}

/** A DNS name, with a wildcard as its first label if need be, or an address. */
const DNS_NAME = /^(?:\*\.)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/i;

function hosts(name: string, former: string[]): string[] {
  if (isIP(name) === 0 && !DNS_NAME.test(name)) {
    throw new InvalidArgumentError("A DNS name or an address expected, without a port.");
  }
  return [...former, name];
}

function members(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0 || number > MOST_MEMBERS) {
    throw new InvalidArgumentError(`0 to ${MOST_MEMBERS} expected.`);
  }
  return number;
}

async function run({
  kubeconfig,
  publishOnly,
  gatewayName,
  ...flags
}: z.output<typeof Flags>): Promise<void> {
  const [clock, random] = [systemClock, systemRandom];
  const log = jsonLogger(clock, (line) => process.stdout.write(line), { role: "certificates" });
  const client = createRestClient(loadKubeConfig(kubeconfig, { clock, log }), {
    clock,
    random,
    userAgent: "slipway-certificates",
  });
  const options = { client, clock, random, log, installation: { ...flags, gatewayNames: gatewayName } };
  try {
    const outcomes = publishOnly
      ? [await publishTrust(options, ISSUED_WITHIN)]
      : await keepCertificates(options);
    for (const { name, did } of outcomes) log.info("certificate", { name, did });
  } finally {
    await client.close();
  }
}
