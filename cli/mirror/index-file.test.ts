/** Where the files of a Release lie in a mirror, whatever they are called. */
import { expect, it } from "vitest";
import { ReleaseSpec } from "../../api/release.ts";
import { Failure } from "../io.ts";
import { filesOf, releaseOf } from "./index-file.ts";

const sha256 = "ab".repeat(32);
const blob = { urls: ["https://a.test/x"], size: 1, sha256 };
const withPackages = (...names: string[]) =>
  releaseOf(
    "os-1",
    ReleaseSpec.parse({
      ...{ version: "1.0.0", product: "os" },
      payloads: ["amd64", "arm64"].map((architecture) => ({
        ...{ architecture, kind: "FastPatch", image: blob, manifest: blob, rootHash: sha256, signatures: [] },
      })),
      omaha: ["amd64", "arm64"].map((architecture) => ({
        ...{ architecture, codebases: ["https://a.test/"] },
        payload: { name: "update.gz", size: 1, sha256 },
        extras: names.map((name) => ({ name, size: 1, sha256 })),
      })),
    }),
  );

it("no package is called like the folder of another file, or like the file", () => {
  const names = ["fastpatch", "amd64", "arm64", "image.zst", "manifest.zst", "os-1"];
  const paths = filesOf(withPackages(...names), undefined).map(({ path }) => path);
  expect(paths).toHaveLength(2 * (2 + 1 + names.length));
  expect(new Set(paths).size).toBe(paths.length);
  for (const path of paths) expect(paths.filter((other) => other.startsWith(`${path}/`))).toEqual([]);
});

it("two packages of one name can't be mirrored", () => {
  const twice = withPackages("a");
  for (const one of twice.spec.omaha ?? []) one.payload.name = "a";
  expect(() => filesOf(twice, undefined)).toThrow(Failure);
});
