/** `slipway join-token create`: lets one machine outside the cluster join, once. */
import { randomBytes } from "node:crypto";
import { Command, InvalidArgumentError } from "commander";
import * as z from "zod";
import { Duration, parseDuration } from "../api/duration.ts";
import { createCoordination } from "../coordination/create.ts";
import { systemClock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import { hashJoinToken } from "./agents/join.ts";
import { addEtcdFlags, EtcdFlags, openEtcd } from "./etcd-flags.ts";

/** 256 bits: guessing is hopeless, so no attempt is counted. */
const TOKEN_BYTES = 32;
const MAX_TTL = 30 * 24 * 3_600_000;

/** Qualified name and value of a label (Kubernetes, "Labels and Selectors: syntax and character set"). */
const LABEL =
  /^((?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)=([A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
/** Name of an UpdateGroup (RFC 1123 subdomain). */
const NAME = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Adds `KEY=VALUE` to what was given before; for commander. */
export function addLabel(text: string, former: Record<string, string> = {}): Record<string, string> {
  const [, key, value = ""] = LABEL.exec(text) ?? [];
  if (key === undefined) throw new InvalidArgumentError("KEY=VALUE expected, a label of Kubernetes.");
  return { ...former, [key]: value };
}

function lifetime(text: string): number {
  const milliseconds = Duration.safeParse(text).success ? parseDuration(text) : 0;
  if (milliseconds <= 0 || milliseconds > MAX_TTL) {
    throw new InvalidArgumentError("A duration such as 15m or 1h30m expected, at most 720h.");
  }
  return milliseconds;
}

function groupName(text: string): string {
  if (!NAME.test(text)) throw new InvalidArgumentError("The name of an UpdateGroup expected.");
  return text;
}

const Flags = EtcdFlags.and(
  z.object({ group: z.string(), label: z.record(z.string(), z.string()), ttl: z.number() }),
);

export function joinTokenCommand(): Command {
  const create = new Command("create")
    .description("Makes a join token and prints it, once: only its hash is kept.")
    .requiredOption("--group <name>", "UpdateGroup that the machine belongs to", groupName)
    .option("--label <key=value>", "label of the machine; may be given more than once", addLabel, {})
    .option("--ttl <duration>", "how long the token may be used", lifetime, 3_600_000);
  addEtcdFlags(create).action(async (options: unknown) => {
    const flags = Flags.safeParse(options);
    if (!flags.success) throw new Error(flags.error.issues.map(({ message }) => message).join("; "));
    await run(flags.data);
  });
  return new Command("join-token").description("Join tokens of plain machines.").addCommand(create);
}

async function run(flags: z.output<typeof Flags>): Promise<void> {
  const ports = { clock: systemClock, random: systemRandom, log: silentLogger };
  const etcd = openEtcd(flags, ports);
  try {
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    const expiresAt = ports.clock.now() + flags.ttl;
    await createCoordination({ etcd, ...ports }).putJoinToken(hashJoinToken(token), {
      group: flags.group,
      labels: flags.label,
      expiresAt,
    });
    const until = new Date(expiresAt).toISOString();
    process.stderr.write(`One machine may join group ${flags.group} with this token until ${until}:\n`);
    process.stdout.write(`${token}\n`);
  } finally {
    await etcd.close();
  }
}
