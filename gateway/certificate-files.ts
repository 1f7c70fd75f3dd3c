/**
 * The gateway's certificates as files of one directory, read again when they change:
 * `ca.crt` (one or more; any that is here is trusted) and `ca.key` are the authority of
 * plain machines, made when both are missing; `tls.crt` and `tls.key` the server's own,
 * issued in memory by that authority when they are missing. Two gateways may share it.
 */
import { X509Certificate } from "node:crypto";
import { link, mkdir, readFile, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import type { KeyPair } from "../pki/issuer.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import { CertificateAuthority } from "./certificate-authority.ts";
import { FollowedFiles } from "./followed-files.ts";

/** A server certificate of our own is replaced when less than this is left, ms. */
const RENEW_BEFORE = 2 * 24 * 3_600_000;

/** All that a TLS server needs. */
export interface Certificates {
  authority: CertificateAuthority;
  server: KeyPair;
}

export interface CertificateFilesOptions {
  directory: string;
  /** DNS names and IP addresses for a server certificate that we issue. */
  hosts: readonly string[];
  clock: Clock;
  random: Random;
  log: Logger;
}

interface Files {
  caCertificate: string | undefined;
  caKey: string | undefined;
  certificate: string | undefined;
  key: string | undefined;
}

export type CertificateFiles = FollowedFiles<Certificates>;

/** Reads the files, after making what is missing. Throws where they don't fit together. */
export async function openCertificates(options: CertificateFilesOptions): Promise<CertificateFiles> {
  const { directory, clock, log } = options;
  await makeAuthority(options);
  const isDue = ({ server }: Certificates): boolean =>
    new X509Certificate(server.certificate).validToDate.getTime() - clock.now() <= RENEW_BEFORE;
  return await FollowedFiles.open({
    ...{ path: directory, what: "certificates", clock, log },
    read: async () => {
      const files = await readFiles(directory);
      const ours = files.certificate === undefined ? { isDue } : {};
      return { text: JSON.stringify(files), load: () => load(options, files), ...ours };
    },
  });
}

async function load(options: CertificateFilesOptions, files: Files): Promise<Certificates> {
  const { hosts, clock, random } = options;
  if (files.caCertificate === undefined || files.caKey === undefined) {
    throw new Error("ca.crt and ca.key belong together; one is missing");
  }
  const authority = new CertificateAuthority({
    bundle: files.caCertificate,
    key: files.caKey,
    clock,
    random,
  });
  if ((files.certificate === undefined) !== (files.key === undefined)) {
    throw new Error("tls.crt and tls.key belong together; one is missing");
  }
  if (files.certificate === undefined || files.key === undefined) {
    return { authority, server: await authority.issueServer(hosts) };
  }
  createSecureContext({ cert: files.certificate, key: files.key }); // throws where they don't match
  return { authority, server: { certificate: files.certificate, key: files.key } };
}

async function readFiles(directory: string): Promise<Files> {
  const [caCertificate, caKey, certificate, key] = await Promise.all(
    ["ca.crt", "ca.key", "tls.crt", "tls.key"].map((name) => readIfThere(join(directory, name))),
  );
  return { caCertificate, caKey, certificate, key };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Makes the authority where there is none. Each file appears whole and once, so of two
 * gateways that start together one makes the key; a certificate made for it by either fits.
 */
async function makeAuthority(options: CertificateFilesOptions): Promise<void> {
  const { directory, clock, random, log } = options;
  const { caCertificate, caKey } = await readFiles(directory);
  if (caCertificate !== undefined) return;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const made =
    caKey === undefined &&
    (await createOnce(join(directory, "ca.key"), CertificateAuthority.makeKey(), random));
  const key = await readFile(join(directory, "ca.key"), "utf8");
  const certificate = await CertificateAuthority.makeCertificate(key, clock, random);
  await createOnce(join(directory, "ca.crt"), certificate, random);
  if (made) log.info("made a certificate authority for machines", { directory });
}

/** Whether we made the file; false where it was there. */
async function createOnce(path: string, content: string, random: Random): Promise<boolean> {
  const temporary = `${path}.${random.uuid()}`;
  await writeFile(temporary, content, { mode: 0o600, flag: "wx", flush: true });
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await unlink(temporary);
  }
}
