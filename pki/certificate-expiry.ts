/** Tells Prometheus when the certificates that a process uses end. */
import { X509Certificate } from "node:crypto";
import type { Gauge, Registry } from "prom-client";

/** A certificate by what it is for ("server", "etcd-client"), in PEM; of a bundle the first counts, a key before it does not. */
export type NamedCertificate = readonly [name: string, pem: string];

/**
 * `read` is asked at each scrape; what is no certificate is left out. Both metrics together tell how much of its life is
 * left. The library is given, because the agent loads it only where metrics are asked for.
 */
export function observeCertificates(
  prom: { Gauge: typeof Gauge },
  registry: Registry,
  read: () => Iterable<NamedCertificate> | Promise<Iterable<NamedCertificate>>,
): void {
  const told = (name: string, help: string, timeOf: (certificate: X509Certificate) => Date): void => {
    const gauge: Gauge = new prom.Gauge({
      name,
      help,
      labelNames: ["certificate"],
      registers: [registry],
      async collect() {
        gauge.reset();
        for (const [certificate, pem] of await read()) {
          const parsed = parse(pem);
          if (parsed !== undefined) gauge.set({ certificate }, timeOf(parsed).getTime() / 1000);
        }
      },
    });
  };
  told(
    "slipway_certificate_expiry_timestamp_seconds",
    "When a certificate that this process uses ends, in Unix time.",
    ({ validToDate }) => validToDate,
  );
  told(
    "slipway_certificate_start_timestamp_seconds",
    "When a certificate that this process uses became valid, in Unix time.",
    ({ validFromDate }) => validFromDate,
  );
}

function parse(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem.slice(pem.indexOf("-----BEGIN CERTIFICATE")));
  } catch {
    return undefined;
  }
}
