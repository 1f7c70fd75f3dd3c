/** What is wrong between us and etcd, in words: gRPC and TLS say it in theirs. */

/** Of an error's text, the end of a sentence that begins with who was asked. */
export function causeInWords(text: string): string {
  const said = text
    .replace(/^(?:Error: )?\d+ [A-Z_]+: /, "")
    .replace(/^No connection established\. Last error: /, "")
    .replace(/\s*Resolution note:.*$/s, "")
    .replaceAll(/\s+/g, " ")
    .trim();
  for (const [pattern, words] of CAUSES) {
    if (pattern.test(said)) return `${words} (${said.replace(/\.$/, "")})`;
  }
  return said;
}

/** Of OpenSSL, Node.js and grpc-js. What an etcd tells by an alert is about our certificate, all else about its own. */
const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/alert (?:certificate expired|number 45)/i, "it says that our client certificate has expired"],
  [
    /alert (?:bad certificate|unknown ca|certificate required|unsupported certificate|decrypt error)/i,
    "it refuses our client certificate",
  ],
  [/certificate has expired/i, "its certificate has expired"],
  [/certificate is not yet valid/i, "its certificate is not valid yet"],
  [
    /self[- ]signed certificate|unable to get (?:local )?issuer|unable to verify the first|certificate signature failure/i,
    "its certificate is not of the authority that --etcd-ca names",
  ],
  [/altnames|Hostname\/IP does not match/i, "its certificate is for another name"],
  [/ECONNREFUSED/, "nobody listens there"],
  [/ENOTFOUND|EAI_AGAIN|Name resolution failed/, "its name is not known"],
  [/EHOSTUNREACH|ENETUNREACH/, "no way leads there"],
  [/wrong version number|packet length too long|EPROTO/i, "it does not speak TLS there"],
  [/ENOENT|EACCES/, "a file of ours can't be read"],
  [/DEADLINE|Deadline exceeded/i, "it gives no answer"],
];
