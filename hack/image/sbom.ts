/** The image's bill of materials: CycloneDX 1.6, of what is in the bundle, by package-lock.json. */
import * as z from "zod";

const Lock = z.object({
  name: z.string(),
  version: z.string(),
  packages: z.record(
    z.string(),
    z.object({ version: z.string().optional(), integrity: z.string().optional() }).loose(),
  ),
});
const Manifest = z.object({ name: z.string(), license: z.string().optional() }).loose();

interface Component {
  type: "library" | "application";
  "bom-ref": string;
  name: string;
  version: string;
  purl: string;
  hashes?: { alg: string; content: string }[];
  licenses?: { expression: string }[];
}

export interface Bom {
  bomFormat: "CycloneDX";
  specVersion: "1.6";
  version: 1;
  metadata: { component: Component };
  components: Component[];
}

/** CycloneDX's name of an algorithm of Subresource Integrity. */
const ALGORITHMS: Readonly<Record<string, string>> = { sha512: "SHA-512", sha256: "SHA-256", sha1: "SHA-1" };

/**
 * `inputs` are the files that were bundled, relative to the repository; `lock` is
 * package-lock.json; `manifest` reads the package.json of an installed package's folder.
 */
export async function billOfMaterials(
  inputs: readonly string[],
  lock: unknown,
  manifest: (folder: string) => Promise<unknown>,
): Promise<Bom> {
  const { name, version, packages } = Lock.parse(lock);
  const folders = new Set(inputs.map(packageOf).filter((folder) => folder !== undefined));
  const components: Component[] = [];
  for (const folder of [...folders].toSorted()) {
    const locked = packages[folder];
    if (locked?.version === undefined) {
      throw new Error(`package-lock.json has no ${folder}, which is in the bundle: run npm ci`);
    }
    const { name: packageName, license } = Manifest.parse(await manifest(folder));
    components.push({
      ...identity("library", packageName, locked.version),
      ...hashes(locked.integrity),
      ...(license === undefined ? {} : { licenses: [{ expression: license }] }),
    });
  }
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: { component: identity("application", name, version) },
    components,
  };
}

/** The innermost package that a file belongs to, as package-lock.json names it; undefined for our own files. */
function packageOf(file: string): string | undefined {
  return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0];
}

function identity(type: Component["type"], name: string, version: string): Component {
  const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
  return { type, "bom-ref": purl, name, version, purl };
}

/** Subresource Integrity has base64, CycloneDX hex. */
function hashes(integrity: string | undefined): Pick<Component, "hashes"> {
  const [algorithm = "", digest = ""] = integrity?.split(/-(.*)/) ?? [];
  const alg = ALGORITHMS[algorithm];
  if (alg === undefined) return {};
  return { hashes: [{ alg, content: Buffer.from(digest, "base64").toString("hex") }] };
}
