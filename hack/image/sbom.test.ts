import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { billOfMaterials } from "./sbom.ts";

const tarball = createHash("sha512").update("tarball");
const lock = {
  name: "slipway",
  version: "0.1.0",
  packages: {
    "": { version: "0.1.0" },
    "node_modules/zod": { version: "4.6.7", integrity: `sha512-${tarball.copy().digest("base64")}` },
    "node_modules/@scope/a": { version: "1.0.0" },
    "node_modules/@scope/a/node_modules/zod": { version: "3.0.0" },
    "node_modules/never-bundled": { version: "9.9.9" },
  },
};
const manifest = async (folder: string): Promise<unknown> => ({
  name: folder.split("node_modules/").at(-1),
  license: "MIT",
});

test("lists what is in the bundle, once, in the version that the lock file has, and nothing else", async () => {
  const inputs = [
    "agent/main.ts",
    "node_modules/zod/index.js",
    "node_modules/zod/v4/core.js",
    "node_modules/@scope/a/x.js",
    "node_modules/@scope/a/node_modules/zod/index.js",
  ];
  const bom = await billOfMaterials(inputs, lock, manifest);
  expect(bom.components.map(({ purl }) => purl)).toEqual([
    "pkg:npm/%40scope/a@1.0.0",
    "pkg:npm/zod@3.0.0",
    "pkg:npm/zod@4.6.7",
  ]);
  expect(bom.components[2]).toMatchObject({
    hashes: [{ alg: "SHA-512", content: tarball.copy().digest("hex") }],
    licenses: [{ expression: "MIT" }],
  });
  expect(bom.metadata.component).toMatchObject({ type: "application", name: "slipway", version: "0.1.0" });
});

test("a package that the lock file does not have is no secret", async () => {
  await expect(billOfMaterials(["node_modules/stray/x.js"], lock, manifest)).rejects.toThrow(
    "package-lock.json has no node_modules/stray",
  );
});
