/**
 * The authority that signs the client certificates of plain machines, and the gateway's
 * own server certificate where nobody else made one. Subjects and uses are ours; a
 * request gives nothing but its key.
 */
import "reflect-metadata";
import { createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { Pkcs10CertificateRequest } from "@peculiar/x509";
import { BACKDATE, Issuer, type KeyPair, makeAuthority, makeKey } from "../pki/issuer.ts";
import type { Clock } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";
import { isMachineId } from "./agents/form.ts";

const HOUR = 3_600_000;
/**
 * A machine renews when a third has passed, so it may be off for 60 days, and has as long to
 * find a gateway. What ends it before is that its machine is forgotten, or joins anew (`Enrolment.check`).
 */
const MACHINE_LIFE = 90 * 24 * HOUR;
const SERVER_LIFE = 7 * 24 * HOUR;
/** RFC 2986 request of any key that we accept, DER. */
const MAX_REQUEST_BYTES = 8 * 1024;
/** Organization in the subject of a machine's certificate. */
const MACHINES = "slipway:machines";
/** id-kp-clientAuth (RFC 5280, 4.2.1.12). */
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

/** In every server certificate that we issue. */
export const SERVER_NAME = "slipway-gateway";

/** A certificate request that can't be signed. `message` says what to change. */
export class RefusedRequest extends Error {
  constructor(message: string) {
    super(message);
    this.name = "RefusedRequest";
  }
}

/** What a client certificate says. */
export interface MachineCertificate {
  machineId: string;
  /** Wall clock, ms, in whole seconds. */
  issuedAt: number;
}

export class CertificateAuthority {
  readonly #clock: Clock;
  readonly #issuer: Issuer;

  /** Throws where the key is not that of one of the certificates in `bundle`. */
  constructor(options: { bundle: string; key: string; clock: Clock; random: Random }) {
    this.#clock = options.clock;
    this.#issuer = new Issuer(options);
  }

  /** Every certificate that is trusted, PEM; the first is the issuer. */
  get bundle(): string {
    return this.#issuer.bundle;
  }

  /** A new key for an authority, PEM. */
  static makeKey(): string {
    return makeKey();
  }

  /** A self-signed certificate for `key`, PEM. */
  static async makeCertificate(key: string, clock: Clock, random: Random): Promise<string> {
    return makeAuthority(key, "slipway machines", { clock, random });
  }

  /**
   * A server certificate with a key of its own for `hosts` (DNS names and IP addresses), and
   * for `SERVER_NAME`: a client that dials an address has no name of its own to ask for.
   */
  async issueServer(hosts: readonly string[]): Promise<KeyPair> {
    return this.#issuer.issueWithKey({
      subject: [{ CN: [SERVER_NAME] }],
      life: SERVER_LIFE,
      uses: ["server"],
      hosts: [SERVER_NAME, ...hosts],
    });
  }

  /** Reads a request and checks that its sender holds the key. Throws `RefusedRequest`. */
  async readRequest(der: Uint8Array): Promise<KeyObject> {
    if (der.byteLength > MAX_REQUEST_BYTES) {
      throw new RefusedRequest(`certificate_request: at most ${MAX_REQUEST_BYTES} bytes expected`);
    }
    let key: KeyObject;
    let holdsKey: boolean;
    try {
      const request = new Pkcs10CertificateRequest(Buffer.from(der));
      key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: "der", type: "spki" });
      holdsKey = await request.verify();
    } catch {
      throw new RefusedRequest("certificate_request: a PKCS #10 request in DER expected");
    }
    if (!holdsKey) throw new RefusedRequest("certificate_request: the signature is not of the request's key");
    const details = key.asymmetricKeyDetails;
    const strong =
      key.asymmetricKeyType === "ed25519" ||
      (key.asymmetricKeyType === "ec" && ["prime256v1", "secp384r1"].includes(details?.namedCurve ?? "")) ||
      (key.asymmetricKeyType === "rsa" &&
        (details?.modulusLength ?? 0) >= 2048 &&
        (details?.modulusLength ?? 0) <= 4096);
    if (!strong) {
      throw new RefusedRequest(
        "certificate_request: a key on P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits expected",
      );
    }
    return key;
  }

  /**
   * A client certificate and its issuer, PEM. It is issued now, but not before the machine
   * joined, which a gateway with another clock may have written.
   */
  async issueMachine(machineId: string, key: KeyObject, joinedAt = 0): Promise<string> {
    const certificate = await this.#issuer.issue(key, {
      subject: [{ O: [MACHINES] }, { CN: [machineId] }],
      at: Math.max(this.#clock.now(), joinedAt),
      life: MACHINE_LIFE,
      uses: ["client"],
    });
    return `${certificate}${this.#issuer.certificate}`;
  }

  /** The machine that a client certificate (DER) names; undefined unless we signed it for that and it is valid now. */
  machineOf(der: Uint8Array): MachineCertificate | undefined {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(der);
    } catch {
      return undefined;
    }
    const now = this.#clock.now();
    if (
      !this.#issuer.signed(certificate) ||
      now < certificate.validFromDate.getTime() ||
      now > certificate.validToDate.getTime()
    ) {
      return undefined;
    }
    if (certificate.ca || !certificate.keyUsage?.includes(CLIENT_AUTH)) return undefined;
    const lines = certificate.subject.split("\n");
    if (lines.length !== 2 || lines[0] !== `O=${MACHINES}`) return undefined;
    const machineId = lines[1]?.replace(/^CN=/, "") ?? "";
    if (!isMachineId(machineId)) return undefined;
    return { machineId, issuedAt: certificate.validFromDate.getTime() + BACKDATE };
  }
}
