/** `slipway uninstall`: the flags. Run by Helm before it deletes anything. */
import { Command, InvalidArgumentError, Option } from "commander";
import * as z from "zod";
import { Duration, parseDuration } from "../../api/duration.ts";
import { systemClock } from "../../ports/clock.ts";
import { jsonLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient } from "../../runtime/rest-client.ts";
import { uninstall } from "./uninstall.ts";

const Flags = z.object({
  kubeconfig: z.string().optional(),
  namespace: z.string().min(1),
  fullname: z.string().min(1),
  deadline: z.number(),
  force: z.boolean(),
});

export function uninstallCommand(): Command {
  return new Command("uninstall")
    .description("Ends what is under way, then removes cordons and finalizers of Slipway; deletes no object.")
    .option("--kubeconfig <file>", "kubeconfig (default: the Pod's own service account)")
    .requiredOption("--namespace <name>", "namespace of the installation")
    .option("--fullname <name>", "first part of the names of its objects", "slipway")
    .addOption(
      new Option("--deadline <duration>", "how long nodes have to end what is under way")
        .argParser(milliseconds)
        .default(240_000, "4m"),
    )
    .option("--force", "go on after the deadline all the same", false)
    .action(async (options: unknown) => {
      await run(Flags.parse(options));
    });
}

/** For commander. */
export function milliseconds(text: string): number {
  if (!Duration.safeParse(text).success)
    throw new InvalidArgumentError("A duration such as 90s or 15m expected.");
  return parseDuration(text);
}

async function run({ kubeconfig, ...flags }: z.output<typeof Flags>): Promise<void> {
  const [clock, random] = [systemClock, systemRandom];
  const log = jsonLogger(clock, (line) => process.stdout.write(line), { role: "uninstall" });
  const client = createRestClient(loadKubeConfig(kubeconfig, { clock, log }), {
    clock,
    random,
    userAgent: "slipway-uninstall",
  });
  try {
    const { groups, nodeUpdates, uncordoned, suspect } = await uninstall({ client, clock, log, ...flags });
    log.info("Slipway acts no more", { groups, nodeUpdates, uncordoned: uncordoned.join(", ") });
    if (suspect.length > 0) log.info("these did not come back from a reboot", { nodes: suspect.join(", ") });
    log.info(
      "what stays: the CRDs and all objects of their kinds, the Secrets and the ConfigMap with certificates, etcd's volume claims",
    );
  } finally {
    await client.close();
  }
}
