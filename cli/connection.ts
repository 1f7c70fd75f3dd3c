/** From kubectl's flags and environment to a client of the API server. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { systemRandom } from "../ports/random.ts";
import { type ApiError, isApiError } from "../runtime/client.ts";
import { type ApiConfig, loadKubeConfig } from "../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../runtime/rest-client.ts";
import { Failure, type Io } from "./io.ts";

/** Flags of every command, as kubectl has them. */
export interface GlobalFlags {
  kubeconfig?: string;
  context?: string;
  namespace?: string;
}

export function addGlobalFlags(program: Command): Command {
  return program
    .option("--kubeconfig <file>", "kubeconfig to use (default: $KUBECONFIG, then ~/.kube/config)")
    .option("--context <name>", "context of the kubeconfig to use")
    .option(
      "-n, --namespace <name>",
      "namespace that Slipway is installed in (default: wherever its leader Lease is)",
    );
}

/** Runs `work` with a client and whose it is, and says in its own words what the API server refused. */
export async function withClient<T>(
  flags: GlobalFlags,
  io: Io,
  work: (client: RestClient, config: ApiConfig) => Promise<T>,
): Promise<T> {
  const paths = kubeconfigPaths(flags, io.env);
  const options = { clock: io.clock, ...(flags.context === undefined ? {} : { context: flags.context }) };
  const config = loadKubeConfig(paths, options);
  const client = createRestClient(config, {
    clock: io.clock,
    random: systemRandom,
    userAgent: "kubectl-slipway",
  });
  try {
    return await work(client, config);
  } catch (error) {
    throw isApiError(error) ? new Failure(inWords(error)) : error;
  } finally {
    await client.close();
  }
}

/** As kubectl looks for it: the flag, $KUBECONFIG (a list), ~/.kube/config, then the Pod's own account. */
function kubeconfigPaths({ kubeconfig }: GlobalFlags, env: Io["env"]): readonly string[] | undefined {
  if (kubeconfig !== undefined) {
    if (!existsSync(kubeconfig))
      throw new Failure(`there is no kubeconfig ${kubeconfig}: correct --kubeconfig`);
    return [kubeconfig];
  }
  const listed = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
  const found = listed.filter((path) => existsSync(path));
  if (found.length > 0) return found;
  if (listed.length > 0) throw new Failure(`no file of KUBECONFIG=${env["KUBECONFIG"]} exists`);
  const home = join(env["HOME"] ?? "/", ".kube", "config");
  if (existsSync(home)) return [home];
  if (env["KUBERNETES_SERVICE_HOST"] !== undefined) return undefined;
  throw new Failure("there is no kubeconfig: give --kubeconfig, set KUBECONFIG, or make ~/.kube/config");
}

/** What the API server refused, and what to do. */
export function inWords({ kind, message, status }: ApiError): string {
  switch (kind) {
    case "NotFound":
      return status === 404 && message.includes("could not find the requested resource")
        ? "Slipway is not installed in this cluster (its CRDs are missing): install the chart, or check --context"
        : message;
    case "Forbidden":
      return `${message}; ask for that permission, or use another --context`;
    case "Unavailable":
    case "Timeout":
      return `the API server gave no answer (${message}): check --context and the network`;
    case "Conflict":
      return `${message}; it was changed meanwhile: try again`;
    default:
      return message;
  }
}
