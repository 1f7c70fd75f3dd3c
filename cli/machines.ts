/** `kubectl slipway machines`: the machines outside of the cluster, with our agent or without. */
import { Command } from "commander";
import {
  MACHINES_ANNOTATION,
  RETRY_MACHINE_ANNOTATION,
  RETRY_MACHINES_ANNOTATION,
  STEAL_MACHINE_ANNOTATION,
} from "../api/labels.ts";
import { machineWord } from "../api/machine-word.ts";
import { timestamp } from "../api/meta.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { MachineCredentials, parseKeys } from "../pki/machine-credentials.ts";
import type { KubeClient } from "../runtime/client.ts";
import { SECRETS, type Secret } from "../runtime/core.ts";
import { type GlobalFlags, withClient } from "./connection.ts";
import { Failure, type Io } from "./io.ts";
import { addMachineList } from "./machine-list.ts";
import { oneLine } from "./node.ts";
import { namespaceOf } from "./snapshot.ts";
import { annotate, confirm, find, need, waitFor } from "./write.ts";

export function machinesCommand(io: Io): Command {
  const command = addMachineList(new Command("machines"), io);
  command.addCommand(secretCommand(io));
  command.addCommand(stealCommand(io));
  command.addCommand(confirmCommand(io));
  command.addCommand(retryCommand(io));
  return command;
}

/** The manager looks every 10 s. */
const SEEN_WITHIN = 60_000;
/** As docs/fleetlock.md names it. */
const KEYS_SECRET = "slipway-machines";

function secretCommand(io: Io): Command {
  return new Command("secret")
    .description(
      "Print the secret that machines without our agent show to take a slot of a group, or clients of a key space.",
    )
    .argument("<group>", "an UpdateGroup; or registry/NAME for a key space of etcd's v2 API")
    .option("--machine <id>", "the secret of one machine alone, by the id that it sends")
    .option(
      "--secret-name <name>",
      "Secret that has the keys: the chart's gateway.machines.keysSecret",
      KEYS_SECRET,
    )
    .action(async (group: string, _: unknown, self: Command) => {
      const { machine, secretName, ...flags } = self.optsWithGlobals<
        GlobalFlags & { machine?: string; secretName: string }
      >();
      const isSpace = group.startsWith("registry/");
      if (isSpace && machine !== undefined)
        throw new Failure("all clients of a key space show one secret: leave --machine out");
      await withClient(flags, io, async (client) => {
        const found = isSpace ? undefined : await need<UpdateGroup>(client, updateGroup, group);
        const keys = await keysOf(client, flags.namespace, secretName);
        const secret = new MachineCredentials(keys).secret(group, machine);
        if (secret === undefined) throw new Failure(`Secret ${secretName} has no key in \`keys\`: write one`);
        io.out(`${secret}\n`);
        if (found !== undefined && found.spec.machines === undefined) {
          io.err(`UpdateGroup ${group} serves no such machines yet: set spec.machines\n`);
        }
      });
    });
}

async function keysOf(
  client: Pick<KubeClient, "get" | "list">,
  wanted: string | undefined,
  name: string,
): Promise<Buffer[]> {
  const namespace = await namespaceOf(client, wanted);
  const secret = await find<Secret>(client, SECRETS, name, namespace);
  if (secret === undefined) {
    throw new Failure(
      `there is no Secret ${name} in namespace ${namespace}: make it with \`kubectl -n ${namespace} create secret generic ${name} --from-literal=keys="$(openssl rand -base64 32)"\` and name it in the chart's gateway.machines.keysSecret`,
    );
  }
  return parseKeys(Buffer.from(secret.data?.["keys"] ?? "", "base64").toString());
}

function stealCommand(io: Io): Command {
  return new Command("steal")
    .description("Free the slot of a machine without our agent that is not coming back.")
    .argument("<group>")
    .argument("<machine>", "as the status of the group names it")
    .requiredOption("--reason <text>", "why; it is written to the journal")
    .option("-y, --yes", "do not ask")
    .action(async (name: string, machine: string, _: unknown, self: Command) => {
      const { reason, yes, ...flags } = self.optsWithGlobals<
        GlobalFlags & { reason: string; yes?: boolean }
      >();
      await withClient(flags, io, (client) => stealMachine(client, io, name, machine, reason, yes));
    });
}

/** Frees the slot of a machine without our agent. */
export async function stealMachine(
  client: Pick<KubeClient, "get" | "list" | "patch">,
  io: Io,
  name: string,
  machine: string,
  reason: string,
  yes: boolean | undefined,
): Promise<void> {
  const group = await need<UpdateGroup>(client, updateGroup, name);
  const holder = group.status?.machines?.holders.find((one) => one.machine === machine);
  if (holder === undefined)
    throw new Failure(`${machine} holds no slot of ${name}: \`kubectl slipway locks list\` shows who does`);
  await confirm(
    io,
    `${machine} holds a slot of ${name} since ${holder.since}. Freeing it lets another one go down; if this one is down too, the budget is overrun.`,
    yes,
  );
  await askManager(client, io, name, {
    ...{ annotation: STEAL_MACHINE_ANNOTATION, machine, reason },
    deed: `frees the slot of ${machine}`,
    done: ({ status }) =>
      status?.machines?.holders.some((one) => one.machine === machine && one.since === holder.since) !== true,
  });
  io.out(`updategroup/${name} slot of ${machine} freed\n`);
}

function retryCommand(io: Io): Command {
  return new Command("retry")
    .description("Let a machine without our agent, or all of a group, be offered again what failed on it.")
    .argument("<group>")
    .argument("[machine]", "its machine id")
    .option("--all", "all machines of the group")
    .option("--reason <text>", "why; it is written to the journal", "no reason given")
    .action(async (name: string, machine: string | undefined, _: unknown, self: Command) => {
      const { all, reason, ...flags } = self.optsWithGlobals<
        GlobalFlags & { all?: boolean; reason: string }
      >();
      if ((machine === undefined) === (all !== true))
        throw new Failure("name one machine, or give --all for all of the group");
      await withClient(flags, io, async (client) => {
        await need<UpdateGroup>(client, updateGroup, name);
        if (machine === undefined) {
          await annotate(client, updateGroup, name, {
            [RETRY_MACHINES_ANNOTATION]: timestamp(io.clock.now()),
          });
          return io.out(`updategroup/${name} may offer again what failed until now\n`);
        }
        await askManager(client, io, name, {
          ...{ annotation: RETRY_MACHINE_ANNOTATION, machine, reason },
          deed: `lets ${machine} be offered it again`,
        });
        io.out(`updategroup/${name} may offer again to ${machine} what failed on it\n`);
      });
    });
}

/** What a person asks of the manager about one machine without our agent. */
export interface MachineRequest {
  /** Of the UpdateGroup; the manager takes it away when it has done it. */
  annotation: string;
  machine: string;
  reason: string;
  /** What the manager does, as in "the manager ...". */
  deed: string;
  /** What else must be so. */
  done?: (group: UpdateGroup) => boolean;
}

/** Asks, and waits until it is done; a `Failure` after a minute, when it is still asked for. */
export async function askManager(
  client: Pick<KubeClient, "get" | "patch">,
  io: Io,
  name: string,
  { annotation, machine, reason, deed, done = () => true }: MachineRequest,
): Promise<void> {
  await annotate(client, updateGroup, name, { [annotation]: machineWord(machine, oneLine(reason)) });
  await waitFor(io, `the manager ${deed}`, SEEN_WITHIN, async () => {
    const group = await need<UpdateGroup>(client, updateGroup, name);
    const asked = group.metadata.annotations?.[annotation] !== undefined;
    return !asked && done(group) ? true : undefined;
  });
}

function confirmCommand(io: Io): Command {
  return new Command("confirm")
    .description(
      "Say that no machine without our agent of this group is down, after etcd lost who holds a slot.",
    )
    .argument("<group>")
    .option("-y, --yes", "do not ask")
    .action(async (name: string, _: unknown, self: Command) => {
      const { yes, ...flags } = self.optsWithGlobals<GlobalFlags & { yes?: boolean }>();
      await withClient(flags, io, async (client) => {
        const { status } = await need<UpdateGroup>(client, updateGroup, name);
        const wanted = status?.machines?.unconfirmed;
        if (wanted === undefined)
          throw new Failure(`nothing is to be confirmed: it is known which machines of ${name} hold a slot`);
        await confirm(
          io,
          `etcd lost which machines of ${name} hold a slot. Are all of them up? Those that are down and not counted let others go down beside them.`,
          yes,
        );
        await annotate(client, updateGroup, name, { [MACHINES_ANNOTATION]: wanted });
        await waitFor(io, "the manager sees it", SEEN_WITHIN, async () => {
          const now = await need<UpdateGroup>(client, updateGroup, name);
          return now.status?.machines?.incarnation === wanted ? true : undefined;
        });
        io.out(`updategroup/${name} confirmed\n`);
      });
    });
}
