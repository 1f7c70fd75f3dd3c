/** `slipway join-token`: lets one machine outside the cluster join, once; and lets one that joined do it again. */
import { randomBytes } from "node:crypto";
import { Command, InvalidArgumentError, Option } from "commander";
import * as z from "zod";
import { Duration, parseDuration } from "../api/duration.ts";
import type { Coordination } from "../coordination/coordination.ts";
import { createCoordination } from "../coordination/create.ts";
import { addEtcdFlags, EtcdFlags, openEtcd } from "../coordination/etcd-flags.ts";
import { systemClock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import { isMachineId } from "./agents/form.ts";
import { hashJoinToken } from "./agents/join.ts";

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

/** For commander. */
export function machineId(text: string): string {
  if (!isMachineId(text))
    throw new InvalidArgumentError("32 lowercase hexadecimal characters expected (machine-id(5)).");
  return text;
}

const CreateFlags = EtcdFlags.and(
  z.object({ group: z.string(), label: z.record(z.string(), z.string()), ttl: z.number() }),
);
const ForgetFlags = EtcdFlags.and(z.object({ why: z.string() }));

export function joinTokenCommand(): Command {
  const create = new Command("create")
    .description("Makes a join token and prints it, once: only its hash is kept.")
    .requiredOption("--group <name>", "UpdateGroup that the machine belongs to", groupName)
    .option("--label <key=value>", "label of the machine; may be given more than once", addLabel, {})
    .addOption(
      new Option("--ttl <duration>", "how long the token may be used")
        .argParser(lifetime)
        .default(3_600_000, "1h"),
    );
  addEtcdFlags(create).action(async (options: unknown) => {
    await createToken(parse(CreateFlags, options));
  });
  const forget = new Command("forget-machine")
    .description("Removes a machine that joined, so that it can join again: after it was installed anew.")
    .argument("<id>", "machine id, as in /etc/machine-id", machineId)
    .option("--why <text>", "for the journal", "No cause was given.");
  addEtcdFlags(forget).action(async (id: string, options: unknown) => {
    await forgetMachine(id, parse(ForgetFlags, options));
  });
  return new Command("join-token")
    .description("Join tokens of plain machines.")
    .addCommand(create)
    .addCommand(forget);
}

function parse<S extends z.ZodType>(schema: S, options: unknown): z.output<S> {
  const flags = schema.safeParse(options);
  if (!flags.success) throw new Error(flags.error.issues.map(({ message }) => message).join("; "));
  return flags.data;
}

async function createToken(flags: z.output<typeof CreateFlags>): Promise<void> {
  const token = randomBytes(TOKEN_BYTES).toString("base64url");
  const expiresAt = systemClock.now() + flags.ttl;
  const { group, label: labels } = flags;
  await over(flags, (room) => room.putJoinToken(hashJoinToken(token), { group, labels, expiresAt }));
  const until = new Date(expiresAt).toISOString();
  process.stderr.write(`One machine may join group ${group} with this token until ${until}:\n`);
  process.stdout.write(`${token}\n`);
}

async function forgetMachine(id: string, flags: z.output<typeof ForgetFlags>): Promise<void> {
  if (!(await over(flags, (room) => room.forgetMachine(id, flags.why)))) {
    throw new Error(`no machine ${id} has joined`);
  }
  process.stderr.write(
    `${id} is forgotten: its certificate is not renewed, and a new token lets it join again.\nIf it is gone for good, delete its NodeUpdate too.\n`,
  );
}

async function over<T>(
  flags: z.output<typeof EtcdFlags>,
  work: (room: Coordination) => Promise<T>,
): Promise<T> {
  const ports = { clock: systemClock, random: systemRandom, log: silentLogger };
  const etcd = openEtcd(flags, ports);
  try {
    return await work(createCoordination({ etcd, ...ports }));
  } finally {
    await etcd.close();
  }
}
