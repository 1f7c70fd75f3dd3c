/** The flags by which a command reaches etcd. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import * as z from "zod";
import type { Clock } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";
import type { EtcdPort } from "./etcd.ts";
import { connectEtcd } from "./etcd3-port.ts";

export const EtcdFlags = z
  .object({
    etcd: z.string().transform((list) => list.split(",").map((url) => url.trim())),
    etcdCa: z.string().optional(),
    etcdCert: z.string().optional(),
    etcdKey: z.string().optional(),
  })
  .refine(({ etcdCert, etcdKey }) => (etcdCert === undefined) === (etcdKey === undefined), {
    error: "--etcd-cert and --etcd-key belong together",
  })
  .refine(({ etcdCa, etcdCert }) => etcdCert === undefined || etcdCa !== undefined, {
    error: "--etcd-cert needs --etcd-ca",
  });

export function addEtcdFlags(command: Command): Command {
  return command
    .requiredOption("--etcd <list>", "etcd: http(s)://HOST:PORT,...")
    .option("--etcd-ca <file>", "PEM: who may sign etcd's certificates")
    .option("--etcd-cert <file>", "PEM: client certificate for etcd")
    .option("--etcd-key <file>", "PEM: its key");
}

/** Certificates are read anew for each connection: they rotate. */
export function openEtcd(
  flags: z.output<typeof EtcdFlags>,
  ports: { clock: Clock; random: Random },
): EtcdPort {
  const { etcd: endpoints, etcdCa, etcdCert, etcdKey } = flags;
  if (etcdCa === undefined) return connectEtcd({ endpoints, ...ports });
  return connectEtcd({
    endpoints,
    ...ports,
    tls: () => ({
      ca: readFileSync(etcdCa, "utf8"),
      ...(etcdCert === undefined || etcdKey === undefined
        ? {}
        : { certificate: readFileSync(etcdCert, "utf8"), key: readFileSync(etcdKey, "utf8") }),
    }),
  });
}
