/** `kubectl port-forward`: a plugin of kubectl has it beside itself, and with it the person's own way into the cluster. */
import { spawn } from "node:child_process";
import { Failure, type Io } from "./io.ts";

/** A local port that leads to a Service, as long as it is open. */
export interface PortForward {
  port: number;
  /** Ends kubectl, and waits until it has. Never throws. */
  close(): Promise<void>;
}

export interface Forward {
  namespace: string;
  service: string;
  /** Of the Service. */
  port: number;
  /** kubectl's own, such as `--context`. */
  flags?: readonly string[];
}

/** Until it listens, ms: an exec plugin of the kubeconfig may ask somebody far away. */
const OPENS_WITHIN = 20_000;
/** After SIGTERM, ms; then it is killed. */
const ENDS_WITHIN = 2_000;
/** Of what it says, characters: a line is enough. */
const MAX_SAID = 4_096;

/** kubectl's own words for it (client-go, tools/portforward). */
const FORWARDING = /^Forwarding from 127\.0\.0\.1:(\d+) -> /m;

/** Starts kubectl and waits until it listens. Throws a `Failure`; then nothing is left of it. */
export async function openPortForward(
  { namespace, service, port, flags = [] }: Forward,
  { env, clock, signal }: Pick<Io, "env" | "clock" | "signal">,
  within = OPENS_WITHIN,
): Promise<PortForward> {
  const args = [
    ...["port-forward", "--address", "127.0.0.1", "--namespace", namespace],
    ...[`service/${service}`, `:${port}`, ...flags],
  ];
  const child = spawn("kubectl", args, { env: { ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const exited = new Promise<void>((settle) => {
    child.once("exit", () => settle());
    child.once("error", () => settle());
  });
  const close = async (): Promise<void> => {
    child.kill("SIGTERM");
    const cancel = clock.after(ENDS_WITHIN, () => child.kill("SIGKILL"));
    await exited;
    cancel();
    // What it started may hold them open.
    child.stdout.destroy();
    child.stderr.destroy();
  };
  let [said, complaint] = ["", ""];
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-MAX_SAID);
  });
  let cancel: () => void = () => undefined;
  let onAbort: () => void = () => undefined;
  try {
    const local = await new Promise<number>((fulfil, reject) => {
      const fail = (why: string): void => reject(new Failure(`kubectl port-forward ${why}`));
      cancel = clock.after(within, () => fail(`did not listen within ${within / 1000} s`));
      onAbort = () => fail("was interrupted");
      if (signal.aborted) onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      child.once("error", (error: NodeJS.ErrnoException) =>
        fail(
          error.code === "ENOENT" ? "can't run: kubectl is not on the PATH" : `can't run: ${error.message}`,
        ),
      );
      child.once("close", (code, by) => {
        const last = complaint
          .trim()
          .split("\n")
          .at(-1)
          ?.replace(/^error: /i, "");
        fail(`ended: ${last || `with ${code ?? by}, and said nothing`}`);
      });
      // It goes on to tell of each connection: that is read, and no more kept.
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        if (said.length > MAX_SAID) return;
        said += text;
        const [, found] = FORWARDING.exec(said) ?? [];
        if (found !== undefined) fulfil(Number(found));
      });
    });
    return { port: local, close };
  } catch (error) {
    await close();
    throw error;
  } finally {
    cancel();
    signal.removeEventListener("abort", onAbort);
  }
}
