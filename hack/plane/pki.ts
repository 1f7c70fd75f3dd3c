/** Certificates of the local control plane: an ECDSA authority that lives as long as the test. */
import "reflect-metadata";
import { generateKeyPairSync, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

/** PEM: a certificate and its PKCS #8 key. */
export interface KeyPair {
  certificate: string;
  key: string;
}

export interface Subject {
  /** The user name, where Kubernetes reads the certificate. */
  commonName: string;
  /** The user's groups, where Kubernetes reads the certificate. */
  organizations?: readonly string[];
  /** DNS names and IP addresses that the holder serves under. Without any it is a client only. */
  hosts?: readonly string[];
  /** Its life ended an hour ago. */
  expired?: boolean;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const CURVE = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export class Authority {
  /** The authority's own certificate, PEM. */
  readonly certificate: string;
  readonly #certificate: X509Certificate;
  readonly #key: CryptoKey;

  private constructor(certificate: X509Certificate, key: CryptoKey) {
    this.certificate = certificate.toString("pem");
    this.#certificate = certificate;
    this.#key = key;
  }

  static async create(commonName: string): Promise<Authority> {
    const keys = await webcrypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
    const certificate = await X509CertificateGenerator.createSelfSigned({
      name: [{ CN: [commonName] }],
      keys,
      signingAlgorithm: CURVE,
      ...validity(),
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      ],
    });
    return new Authority(certificate, keys.privateKey);
  }

  async issue(subject: Subject): Promise<KeyPair> {
    const keys = await webcrypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
    const name: JsonName = [
      ...(subject.organizations ?? []).map((organization) => ({ O: [organization] })),
      { CN: [subject.commonName] },
    ];
    const hosts = (subject.hosts ?? []).map((host) =>
      isIP(host) === 0 ? { type: "dns" as const, value: host } : { type: "ip" as const, value: host },
    );
    const certificate = await X509CertificateGenerator.create({
      subject: name,
      issuer: this.#certificate.subjectName,
      publicKey: keys.publicKey,
      signingKey: this.#key,
      signingAlgorithm: CURVE,
      ...(subject.expired === true ? past() : validity()),
      extensions: [
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([
          ExtendedKeyUsage.clientAuth,
          ...(hosts.length > 0 ? [ExtendedKeyUsage.serverAuth] : []),
        ]),
        ...(hosts.length > 0 ? [new SubjectAlternativeNameExtension(hosts)] : []),
      ],
    });
    const key = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
    return { certificate: certificate.toString("pem"), key: PemConverter.encode(key, "PRIVATE KEY") };
  }
}

/** The RSA key that signs service account tokens, PEM. */
export function serviceAccountKeys(): { publicKey: string; privateKey: string } {
  return generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
}

function past(): { notBefore: Date; notAfter: Date } {
  const ended = Date.now() - HOUR;
  return { notBefore: new Date(ended - DAY), notAfter: new Date(ended) };
}

/** Backdated, because a test may run on a machine whose clock was just set back. */
function validity(): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - DAY), notAfter: new Date(now + 365 * DAY) };
}
