/** Boot checks: what a machine can ask itself. They alone decide between mark-good and fallback (design, rule 10). */
import type { Clock } from "../ports/clock.ts";
import type { HealthCheck } from "../proto/gen/agent_pb.ts";
import type { Host } from "./host.ts";

const DEFAULT_TIMEOUT = 10_000;
/** Name under which the local check "a gateway answered the TLS handshake" is reported. */
export const gatewayCheck = "gateway-handshake";

/**
 * One round, all checks at once. Resolves with the names of those that failed, at the
 * latest at `until` (monotonic ms): what has not answered by then has failed.
 */
export async function runChecks(
  host: Host,
  clock: Clock,
  checks: readonly HealthCheck[],
  until: number,
): Promise<string[]> {
  const results = await Promise.all(
    checks.map(async (check) => {
      const left = until - clock.monotonic();
      const timeout = Math.max(1, Math.min(check.timeoutSeconds * 1000 || DEFAULT_TIMEOUT, left));
      const healthy = await within(clock, timeout, ask(host, check, timeout));
      return healthy ? [] : [check.name];
    }),
  );
  return results.flat();
}

async function ask(host: Host, { check }: HealthCheck, timeout: number): Promise<boolean> {
  switch (check.case) {
    case "unit":
      return host.unitActive(check.value);
    case "http":
      return host.httpOk(check.value, timeout);
    case "command":
      return (await host.runCommand(check.value, timeout)) === 0;
    default:
      return false;
  }
}

/** False where `answer` rejects or takes longer. */
function within(clock: Clock, timeout: number, answer: Promise<boolean>): Promise<boolean> {
  return new Promise((resolve) => {
    const cancel = clock.after(timeout, () => resolve(false));
    void answer.then(resolve, () => resolve(false)).finally(cancel);
  });
}
