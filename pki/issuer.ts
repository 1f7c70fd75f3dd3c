/**
 * An authority's key and certificates, and what it signs: the gateway's clients and server,
 * etcd's members and clients. Subjects, names and uses are the caller's.
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
  X509Certificate as SignedCertificate,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { Clock } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";

const HOUR = 3_600_000;
const AUTHORITY_LIFE = 10 * 365 * 24 * HOUR;
/** Certificates begin in the past by this much, ms, for clocks that lag. */
export const BACKDATE = HOUR / 12;

/** A certificate chain and its PKCS #8 key, PEM. */
export interface KeyPair {
  certificate: string;
  key: string;
}

/** What a certificate is for. */
export interface Purpose {
  subject: JsonName;
  /** When it is issued, wall clock in ms; now if absent. */
  at?: number;
  /** Milliseconds from then; never beyond the end of the issuer. */
  life: number;
  uses: readonly ("server" | "client")[];
  /** DNS names and IP addresses; none leaves the extension out. */
  hosts?: readonly string[];
}

/** A new key on P-256, PKCS #8 in PEM. */
export function makeKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" });
}

/** A self-signed certificate of an authority for `key`, good for ten years, PEM. */
export async function makeAuthority(
  key: string,
  commonName: string,
  ports: { clock: Clock; random: Random },
): Promise<string> {
  const privateKey = createPrivateKey(key);
  const publicKey = createPublicKey(privateKey);
  const name: JsonName = [{ CN: [commonName] }];
  const at = ports.clock.now();
  const certificate = await sign({
    at,
    random: ports.random,
    key: privateKey,
    subject: name,
    issuer: name,
    publicKey,
    end: at + AUTHORITY_LIFE,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(publicKey.export({ type: "spki", format: "der" })),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}

/** The certificates of a PEM file, in their order. Throws where one can't be read. */
export function readBundle(pem: string): X509Certificate[] {
  return PemConverter.decodeWithHeaders(pem).map(({ rawData }) => new X509Certificate(Buffer.from(rawData)));
}

export class Issuer {
  /** Every certificate that is trusted, PEM; the first is the issuer's own. */
  readonly bundle: string;
  /** The same, read. */
  readonly trusted: readonly X509Certificate[];
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #issuer: SignedCertificate;
  readonly #key: KeyObject;

  /** Throws where the key is not that of one of the certificates in `bundle`. */
  constructor(options: { bundle: string; key: string; clock: Clock; random: Random }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#key = createPrivateKey(options.key);
    const trusted = readBundle(options.bundle);
    const issuer = trusted.find((certificate) => certificate.checkPrivateKey(this.#key));
    if (issuer === undefined) throw new Error("ca.key is the key of no certificate in ca.crt");
    this.trusted = [issuer, ...trusted.filter((certificate) => certificate !== issuer)];
    this.bundle = this.trusted.map((certificate) => certificate.toString()).join("");
    this.#issuer = new SignedCertificate(issuer.raw);
  }

  /** The issuer's own certificate, PEM. */
  get certificate(): string {
    return `${this.#issuer.toString("pem")}\n`;
  }

  /** When the issuer's own certificate ends, ms since the epoch. */
  get end(): number {
    return this.#issuer.notAfter.getTime();
  }

  /** Whether one of the trusted certificates signed this one. */
  signed(certificate: X509Certificate): boolean {
    return this.trusted.some(
      (authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey),
    );
  }

  /** A certificate with a key of its own. */
  async issueWithKey(purpose: Purpose): Promise<KeyPair> {
    const key = makeKey();
    return { certificate: await this.issue(createPublicKey(key), purpose), key };
  }

  /** A certificate for `publicKey`, PEM. */
  async issue(
    publicKey: KeyObject,
    { subject, at = this.#clock.now(), life, uses, hosts = [] }: Purpose,
  ): Promise<string> {
    const oids = { server: ExtendedKeyUsage.serverAuth, client: ExtendedKeyUsage.clientAuth };
    const names = [...new Set(hosts)].map((host) =>
      isIP(host) === 0 ? { type: "dns" as const, value: host } : { type: "ip" as const, value: host },
    );
    // Without its identifier OpenSSL can't tell the authority's old certificate from a new one of the same name.
    const issuerKey = this.#issuer.getExtension(SubjectKeyIdentifierExtension);
    const certificate = await sign({
      at,
      random: this.#random,
      key: this.#key,
      subject,
      issuer: this.#issuer.subjectName.toJSON(),
      publicKey,
      end: Math.min(at + life, this.end),
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension(uses.map((use) => oids[use])),
        ...(names.length === 0 ? [] : [new SubjectAlternativeNameExtension(names)]),
        ...(issuerKey === null ? [] : [new AuthorityKeyIdentifierExtension(issuerKey.keyId)]),
      ],
    });
    return `${certificate.toString("pem")}\n`;
  }
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

async function sign(options: {
  /** Wall clock, ms. */
  at: number;
  random: Random;
  key: KeyObject;
  subject: JsonName;
  issuer: JsonName;
  publicKey: KeyObject;
  /** Ms since the epoch. */
  end: number;
  extensions: Extension[];
}): Promise<SignedCertificate> {
  const algorithm = signingAlgorithm(options.key);
  return X509CertificateGenerator.create({
    // Positive and below 2^127: the sign bit stays clear (RFC 5280, 4.1.2.2).
    serialNumber: `4${options.random.uuid().replaceAll("-", "").slice(1)}`,
    subject: options.subject,
    issuer: options.issuer,
    notBefore: new Date(options.at - BACKDATE),
    notAfter: new Date(options.end),
    publicKey: options.publicKey.export({ type: "spki", format: "der" }),
    signingKey: options.key.toCryptoKey(algorithm, false, ["sign"]),
    signingAlgorithm: algorithm,
    extensions: options.extensions,
  });
}
