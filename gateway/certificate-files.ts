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
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import { CertificateAuthority } from "./certificate-authority.ts";

/** Kubernetes swaps the files of a Secret without telling: look this often, ms. */
const PERIOD = 10_000;
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

export class CertificateFiles {
  readonly #options: CertificateFilesOptions;
  readonly #listeners = new Set<(certificates: Certificates) => void>();
  #files: Files;
  #current: Certificates;
  #cancel: Cancel | undefined;
  #stopped = false;

  private constructor(options: CertificateFilesOptions, files: Files, current: Certificates) {
    this.#options = options;
    this.#files = files;
    this.#current = current;
    this.#schedule();
  }

  /** Reads the files, after making what is missing. Throws where they don't fit together. */
  static async open(options: CertificateFilesOptions): Promise<CertificateFiles> {
    await makeAuthority(options);
    const files = await readFiles(options.directory);
    return new CertificateFiles(options, files, await load(options, files));
  }

  get current(): Certificates {
    return this.#current;
  }

  /** Calls `listener` after each change. */
  onChange(listener: (certificates: Certificates) => void): Cancel {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** Looks for changes now. What can't be read leaves the former certificates in use. */
  async refresh(): Promise<void> {
    const { directory, log, clock } = this.#options;
    try {
      const files = await readFiles(directory);
      const same = JSON.stringify(files) === JSON.stringify(this.#files);
      const left = new X509Certificate(this.#current.server.certificate).validToDate.getTime() - clock.now();
      if (same && (files.certificate !== undefined || left > RENEW_BEFORE)) return;
      this.#current = await load(this.#options, files);
      this.#files = files;
      log.info("certificates changed", { directory });
      for (const listener of this.#listeners) listener(this.#current);
    } catch (error) {
      log.error("can't use the changed certificates; the former stay in use", error, { directory });
    }
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#cancel = this.#options.clock.after(PERIOD, () => {
      void this.refresh().then(() => this.#schedule());
    });
  }
}

async function load(options: CertificateFilesOptions, files: Files): Promise<Certificates> {
  const { directory, hosts, clock, random } = options;
  if (files.caCertificate === undefined || files.caKey === undefined) {
    throw new Error(`${directory}: ca.crt and ca.key belong together; one is missing`);
  }
  const authority = new CertificateAuthority({
    bundle: files.caCertificate,
    key: files.caKey,
    clock,
    random,
  });
  if ((files.certificate === undefined) !== (files.key === undefined)) {
    throw new Error(`${directory}: tls.crt and tls.key belong together; one is missing`);
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
