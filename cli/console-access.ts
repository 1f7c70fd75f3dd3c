/** How the plugin comes to a console: by a URL that it is given, or through kubectl to the one in the cluster. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { KubeObject } from "../api/meta.ts";
import { isApiError, type KubeClient } from "../runtime/client.ts";
import { CONFIG_MAPS, type ConfigMap, SERVICES } from "../runtime/core.ts";
import type { ApiConfig } from "../runtime/kubeconfig.ts";
import { type GlobalFlags, inWords } from "./connection.ts";
import { type Read, reading } from "./console-api.ts";
import { names } from "./explain/words.ts";
import { Failure, type Io } from "./io.ts";
import { openPortForward } from "./port-forward.ts";
import { namespaceOf } from "./snapshot.ts";
import { find } from "./write.ts";

export interface ConsoleFlags extends GlobalFlags {
  /** Its URL. */
  console?: string;
  /** A file. */
  consoleCa?: string;
  token?: string;
}

interface Service extends KubeObject {
  spec?: { ports?: { name?: string; port: number; appProtocol?: string }[] };
}

const CONSOLE = "app.kubernetes.io/part-of=slipway,app.kubernetes.io/component=console";
const SUFFIX = "-console";
/** Every gateway's certificate carries it, for those who reach it under another name, as through kubectl. */
const GATEWAY_NAME = "slipway-gateway";

export function addConsoleFlags(command: Command): Command {
  return command
    .option("--console <url>", "address of the console (default: through `kubectl port-forward`)")
    .option(
      "--console-ca <file>",
      "authority of its certificate (default: that of the gateways, or with --console the well-known ones)",
    )
    .option("--token <token>", "for the console (default: that of the kubeconfig's user)");
}

/** Lets `work` read of the console, and closes the way to it then. Throws a `Failure`, and `ApiError`. */
export async function withConsole<T>(
  flags: ConsoleFlags,
  { client, config }: { client: Pick<KubeClient, "get" | "list">; config: Pick<ApiConfig, "credentials"> },
  io: Io,
  work: (read: Read) => Promise<T>,
): Promise<T> {
  const token = flags.token ?? tokenIn((await config.credentials()).headers);
  const given = flags.consoleCa === undefined ? undefined : readCa(flags.consoleCa);
  if (flags.console !== undefined) {
    return await reading({ origin: originOf(flags.console), ca: given, token }, io, work);
  }
  const namespace = await namespaceOf(client, flags.namespace);
  const { service, port, tls } = await serviceIn(client, namespace);
  const ca = tls ? (given ?? (await authorityOf(client, namespace, service))) : undefined;
  const forward = await openPortForward({ namespace, service, port, flags: kubectlFlags(flags) }, io);
  try {
    // Without TLS the way is still private: TLS to the API server, from there to the Pod's kubelet, and into the Pod.
    const origin = `${tls ? "https" : "http"}://127.0.0.1:${forward.port}`;
    return await reading({ origin, ca, servername: tls ? GATEWAY_NAME : undefined, token }, io, work);
  } finally {
    await forward.close();
  }
}

/** What a console told, or why it told nothing, and what to do. */
export type Told<T> = { told: T; missing?: undefined } | { told?: undefined; missing: string };

/** For who can do without what `ask` gives by `withConsole`. Throws where a person interrupts it. */
export async function orMissing<T>({ signal }: Pick<Io, "signal">, ask: () => Promise<T>): Promise<Told<T>> {
  try {
    return { told: await ask() };
  } catch (error) {
    if (signal.aborted) throw new Failure("interrupted");
    if (isApiError(error)) return { missing: inWords(error) };
    if (error instanceof Failure) return { missing: error.message };
    throw error;
  }
}

/** Of the headers that the kubeconfig's user is known by. */
export function tokenIn(headers: Readonly<Record<string, string>>): string {
  const create = '--token "$(kubectl create token SERVICEACCOUNT --namespace NAMESPACE)"';
  if (Object.keys(headers).some((name) => name.startsWith("impersonate-")))
    throw new Failure(
      `the kubeconfig stands in for another user, which a console does not know: give ${create}`,
    );
  const [, token] = /^Bearer (\S+)$/i.exec(headers["authorization"] ?? "") ?? [];
  if (token !== undefined) return token;
  throw new Failure(`the kubeconfig's user has no token, and a console takes nothing else: give ${create}`);
}

/** Throws a `Failure` where a token must not be sent there. */
export function originOf(text: string): string {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new Failure(`--console ${text} is no URL: such as https://slipway.example.org`);
  if (url.username !== "" || url.pathname !== "/" || url.search !== "" || url.hash !== "")
    throw new Failure(`--console ${text}: a server's address alone, such as ${url.protocol}//${url.host}`);
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url.protocol === "http:" && !local)
    throw new Failure(`--console ${text} would show the token to the network: give one with https`);
  return url.origin;
}

function readCa(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new Failure(`--console-ca: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Of the console in `namespace`. Throws a `Failure` where there is none, and where there are several. */
export async function serviceIn(
  client: Pick<KubeClient, "list">,
  namespace: string,
): Promise<{ service: string; port: number; tls: boolean }> {
  const { items } = await client.list<Service>(SERVICES, { namespace, labelSelector: CONSOLE });
  const consoles = items.filter(({ metadata }) => metadata.name.endsWith(SUFFIX));
  const [found] = consoles;
  if (consoles.length > 1) {
    const all = names(consoles.map(({ metadata }) => metadata.name));
    throw new Failure(
      `${consoles.length} Services of namespace ${namespace} serve a console (${all}): give --console URL`,
    );
  }
  const port = found?.spec?.ports?.find(({ name }) => name === "console") ?? found?.spec?.ports?.[0];
  if (found === undefined || port === undefined) {
    throw new Failure(
      `no gateway in namespace ${namespace} serves the console: set gateway.console.enabled in the chart (docs/console.md), or give --console URL`,
    );
  }
  return { service: found.metadata.name, port: port.port, tls: port.appProtocol !== "http" };
}

/** Who signed the gateways' certificate, as agents know it. */
async function authorityOf(
  client: Pick<KubeClient, "get">,
  namespace: string,
  service: string,
): Promise<string> {
  const name = `${service.slice(0, -SUFFIX.length)}-gateway-ca`;
  const found = await find<ConfigMap>(client, CONFIG_MAPS, name, namespace);
  const ca = found?.data?.["ca.crt"];
  if (ca !== undefined) return ca;
  throw new Failure(
    `ConfigMap ${namespace}/${name} with the authority of the console's certificate is missing: give --console-ca FILE`,
  );
}

/** kubectl is to see the same cluster as we do. */
function kubectlFlags({ kubeconfig, context }: GlobalFlags): string[] {
  return [
    ...(kubeconfig === undefined ? [] : ["--kubeconfig", kubeconfig]),
    ...(context === undefined ? [] : ["--context", context]),
  ];
}
