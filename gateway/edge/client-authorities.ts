/** Who signs the certificates that clients of the machines' port may show: of the operator's own making, and no other's. */
import { constants, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContextOptions } from "node:tls";

/** In PEM. */
export interface ClientAuthorities {
  certificates: readonly string[];
  /** Lists of revoked certificates (RFC 5280 section 5). Where there is one, each authority needs one that is current. */
  revoked: readonly string[];
}

/** RFC 7468 sections 5 and 6. */
const [CERTIFICATE, REVOKED] = ["CERTIFICATE", "X509 CRL"] as const;
const BLOCK = /-----BEGIN ([^\n]*?)-----[\s\S]+?-----END \1-----/g;

/** Of a file that has both in any order. Throws a sentence where one can't be read, or no authority is in it. */
export function parseClientAuthorities(text: string): ClientAuthorities {
  const blocks = [...text.matchAll(BLOCK)].map(([block, kind]) => ({ block, kind }));
  // A list under another name, left out without a word, would let in whom it revokes.
  const other = blocks.find(({ kind }) => kind !== CERTIFICATE && kind !== REVOKED);
  if (other !== undefined)
    throw new Error(`${other.kind} is in it; ${CERTIFICATE} and ${REVOKED} are what can be`);
  const of = (wanted: string): string[] =>
    blocks.filter(({ kind }) => kind === wanted).map(({ block }) => block);
  const authorities = { certificates: of(CERTIFICATE), revoked: of(REVOKED) };
  if (authorities.certificates.length === 0) throw new Error("no certificate is in it, in PEM");
  const named = authorities.certificates.map(parsed);
  for (const certificate of named) {
    const name = certificate.subject.replaceAll("\n", ", ");
    if (!certificate.ca) throw new Error(`the certificate of ${name} is not of an authority`);
    // OpenSSL follows a chain to its root; without it no certificate would be accepted, and nobody told why.
    const isSigned = named.some((by) => certificate.checkIssued(by) && certificate.verify(by.publicKey));
    if (!isSigned) throw new Error(`the root that signed ${name} is not in it, and a chain ends at its root`);
  }
  try {
    createSecureContext(trusting(authorities));
  } catch (error) {
    throw new Error("a list of revoked certificates in it can't be read", { cause: error });
  }
  return authorities;
}

/** As Node.js takes them. */
export function trusting({ certificates, revoked }: ClientAuthorities): SecureContextOptions {
  return {
    ca: [...certificates],
    ...(revoked.length === 0 ? {} : { crl: [...revoked] }),
    // Who resumes a session is not looked at again, also where its certificate has ended since.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

function parsed(certificate: string): X509Certificate {
  try {
    return new X509Certificate(certificate);
  } catch (error) {
    throw new Error("a certificate in it can't be read", { cause: error });
  }
}
