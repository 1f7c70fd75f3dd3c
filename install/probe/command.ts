/** `slipway probe`: the flags. */
import { readFile } from "node:fs/promises";
import { Command, Option } from "commander";
import * as z from "zod";
import { systemClock } from "../../ports/clock.ts";
import { jsonLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient } from "../../runtime/rest-client.ts";
import { milliseconds } from "../uninstall/command.ts";
import { probe } from "./probe.ts";

const Flags = z.object({
  kubeconfig: z.string().optional(),
  namespace: z.string().min(1),
  gateway: z
    .string()
    .regex(/^[^\s:]+:\d{1,5}$/, { error: "--gateway: HOST:PORT expected" })
    .transform((text) => ({ host: text.split(":")[0] ?? "", port: Number(text.split(":")[1]) })),
  ca: z.string(),
  deadline: z.number(),
});

export function probeCommand(): Command {
  return new Command("probe")
    .description("Waits until a gateway answers TLS and a manager leads; what `helm test` runs.")
    .option("--kubeconfig <file>", "kubeconfig (default: the Pod's own service account)")
    .requiredOption("--namespace <name>", "namespace of the installation")
    .requiredOption("--gateway <address>", "HOST:PORT")
    .requiredOption("--ca <file>", "PEM: who may sign the gateway's certificate")
    .addOption(
      new Option("--deadline <duration>", "how long it waits").argParser(milliseconds).default(180_000, "3m"),
    )
    .action(async (options: unknown) => {
      const flags = Flags.safeParse(options);
      if (!flags.success) throw new Error(flags.error.issues.map(({ message }) => message).join("; "));
      await run(flags.data);
    });
}

async function run({ kubeconfig, ca, ...flags }: z.output<typeof Flags>): Promise<void> {
  const [clock, random] = [systemClock, systemRandom];
  const log = jsonLogger(clock, (line) => process.stdout.write(line), { role: "probe" });
  const config = loadKubeConfig(kubeconfig, { clock, log });
  const client = createRestClient(config, { clock, random, userAgent: "slipway-probe" });
  try {
    await probe({ client, clock, log, ...flags, ca: () => readFile(ca, "utf8") });
  } finally {
    await client.close();
  }
}
