/**
 * The authority that signs the client certificates of plain machines, and the gateway's
 * own server certificate where nobody else made one. Subjects and uses are ours; a
 * request gives nothing but its key.
 */
import "reflect-metadata";
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from "node:crypto";
import { isIP } from "node:net";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  Pkcs10CertificateRequest,
  X509Certificate as SignedCertificate,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
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
const AUTHORITY_LIFE = 10 * 365 * 24 * HOUR;
/** Certificates begin in the past by this much, for clocks that lag. */
const BACKDATE = HOUR / 12;
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

/** A certificate chain and its PKCS #8 key, PEM. */
export interface KeyPair {
  certificate: string;
  key: string;
}

/** How a key of this kind signs, as Web Crypto says it. */
function signingAlgorithm(key: KeyObject): { name: string; namedCurve: string; hash: string } {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === "ec" && curve === "prime256v1") {
    return { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  }
  if (key.asymmetricKeyType === "ec" && curve === "secp384r1") {
    return { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" };
  }
  if (key.asymmetricKeyType === "rsa") return { name: "RSASSA-PKCS1-v1_5", namedCurve: "", hash: "SHA-256" };
  throw new Error("the authority's key must be ECDSA on P-256 or P-384, or RSA");
}

export class CertificateAuthority {
  /** Every certificate that is trusted, PEM; the first is the issuer. */
  readonly bundle: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #trusted: readonly X509Certificate[];
  readonly #issuer: SignedCertificate;
  readonly #key: KeyObject;

  /** Throws where the key is not that of one of the certificates in `bundle`. */
  constructor(options: { bundle: string; key: string; clock: Clock; random: Random }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#key = createPrivateKey(options.key);
    const trusted = PemConverter.decodeWithHeaders(options.bundle).map(
      ({ rawData }) => new X509Certificate(Buffer.from(rawData)),
    );
    const issuer = trusted.find((certificate) => certificate.checkPrivateKey(this.#key));
    if (issuer === undefined) throw new Error("ca.key is the key of no certificate in ca.crt");
    this.#trusted = [issuer, ...trusted.filter((certificate) => certificate !== issuer)];
    this.bundle = this.#trusted.map((certificate) => certificate.toString()).join("");
    this.#issuer = new SignedCertificate(issuer.raw);
  }

  /** A new key for an authority, PEM. */
  static makeKey(): string {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    return privateKey.export({ type: "pkcs8", format: "pem" });
  }

  /** A self-signed certificate for `key`, PEM. */
  static async makeCertificate(key: string, clock: Clock, random: Random): Promise<string> {
    const privateKey = createPrivateKey(key);
    const name: JsonName = [{ CN: ["slipway machines"] }];
    const certificate = await sign({
      at: clock.now(),
      random,
      key: privateKey,
      subject: name,
      issuer: name,
      publicKey: createPublicKey(privateKey),
      life: AUTHORITY_LIFE,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(
          createPublicKey(privateKey).export({ type: "spki", format: "der" }),
        ),
      ],
    });
    return `${certificate.toString("pem")}\n`;
  }

  /**
   * A server certificate with a key of its own for `hosts` (DNS names and IP addresses), and
   * for `SERVER_NAME`: a client that dials an address has no name of its own to ask for.
   */
  async issueServer(hosts: readonly string[]): Promise<KeyPair> {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const names = [...new Set([SERVER_NAME, ...hosts])].map((host) =>
      isIP(host) === 0 ? { type: "dns" as const, value: host } : { type: "ip" as const, value: host },
    );
    const certificate = await this.#issue(publicKey, [{ CN: [SERVER_NAME] }], SERVER_LIFE, [
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(names),
    ]);
    return { certificate, key: privateKey.export({ type: "pkcs8", format: "pem" }) };
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
    const subject: JsonName = [{ O: [MACHINES] }, { CN: [machineId] }];
    const extensions = [new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth])];
    const at = Math.max(this.#clock.now(), joinedAt);
    const certificate = await this.#issue(key, subject, MACHINE_LIFE, extensions, at);
    return `${certificate}${this.#issuer.toString("pem")}\n`;
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
    const ours = this.#trusted.some(
      (authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey),
    );
    if (!ours || now < certificate.validFromDate.getTime() || now > certificate.validToDate.getTime()) {
      return undefined;
    }
    if (certificate.ca || !certificate.keyUsage?.includes(CLIENT_AUTH)) return undefined;
    const lines = certificate.subject.split("\n");
    if (lines.length !== 2 || lines[0] !== `O=${MACHINES}`) return undefined;
    const machineId = lines[1]?.replace(/^CN=/, "") ?? "";
    if (!isMachineId(machineId)) return undefined;
    return { machineId, issuedAt: certificate.validFromDate.getTime() + BACKDATE };
  }

  async #issue(
    key: KeyObject,
    subject: JsonName,
    life: number,
    extensions: Extension[],
    at = this.#clock.now(),
  ): Promise<string> {
    // Without it OpenSSL can't tell the authority's old certificate from a new one of the same name.
    const issuerKey = this.#issuer.getExtension(SubjectKeyIdentifierExtension);
    if (issuerKey !== null) extensions.push(new AuthorityKeyIdentifierExtension(issuerKey.keyId));
    const certificate = await sign({
      at,
      random: this.#random,
      key: this.#key,
      subject,
      issuer: this.#issuer.subjectName.toJSON(),
      publicKey: key,
      life,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        ...extensions,
      ],
    });
    return `${certificate.toString("pem")}\n`;
  }
}

async function sign(options: {
  /** Wall clock, ms. */
  at: number;
  random: Random;
  key: KeyObject;
  subject: JsonName;
  issuer: JsonName;
  publicKey: KeyObject;
  life: number;
  extensions: Extension[];
}): Promise<SignedCertificate> {
  const { at } = options;
  const algorithm = signingAlgorithm(options.key);
  return X509CertificateGenerator.create({
    // Positive and below 2^127: the sign bit stays clear (RFC 5280, 4.1.2.2).
    serialNumber: `4${options.random.uuid().replaceAll("-", "").slice(1)}`,
    subject: options.subject,
    issuer: options.issuer,
    notBefore: new Date(at - BACKDATE),
    notAfter: new Date(at + options.life),
    publicKey: options.publicKey.export({ type: "spki", format: "der" }),
    signingKey: options.key.toCryptoKey(algorithm, false, ["sign"]),
    signingAlgorithm: algorithm,
    extensions: options.extensions,
  });
}
