import { createPublicKey, X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { Authority, serviceAccountKeys } from "./pki.ts";

test("a client certificate names the user and each of its groups", async () => {
  const authority = await Authority.create("test");
  const { certificate } = await authority.issue({
    commonName: "system:node:a",
    organizations: ["system:nodes", "b"],
  });
  const parsed = new X509Certificate(certificate);
  expect(parsed.subject.split("\n")).toEqual(["O=system:nodes", "O=b", "CN=system:node:a"]);
  expect(parsed.subjectAltName).toBeUndefined();
  expect(parsed.verify(createPublicKey(authority.certificate))).toBe(true);
  expect(parsed.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
});

test("a server certificate is good for its names and addresses, and for no authority but its own", async () => {
  const [authority, other] = await Promise.all([Authority.create("test"), Authority.create("test")]);
  const { certificate, key } = await authority.issue({ commonName: "s", hosts: ["127.0.0.1", "localhost"] });
  const parsed = new X509Certificate(certificate);
  expect(parsed.checkIP("127.0.0.1")).toBe("127.0.0.1");
  expect(parsed.checkHost("localhost")).toBe("localhost");
  expect(parsed.checkHost("example.com")).toBeUndefined();
  expect(parsed.verify(createPublicKey(other.certificate))).toBe(false);
  expect(parsed.publicKey.equals(createPublicKey(key))).toBe(true);
});

test("service accounts get an RSA key, which the API server asks for", () => {
  const { publicKey, privateKey } = serviceAccountKeys();
  expect(createPublicKey(publicKey).asymmetricKeyType).toBe("rsa");
  expect(createPublicKey(privateKey).equals(createPublicKey(publicKey))).toBe(true);
});
