/** Makes releases of the reference machine's system: good ones and defective ones, built, signed and laid out on the mirror. */
import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KubeObject } from "../../api/meta.ts";
import type { ReleaseSpec } from "../../api/release.ts";
import { type Disk, region } from "../../fastpatch/disk.ts";
import { openFileDisk } from "../../fastpatch/file-disk.ts";
import { createGptPrio } from "../../fastpatch/gptprio.ts";
import { buildImage } from "../../fastpatch/image.ts";
import { type Manifest, parseManifest } from "../../fastpatch/manifest.ts";
import { createTable, referenceLayout } from "../../fastpatch/partition-table.ts";
import { writeSlotLabel } from "../../fastpatch/slot-label.ts";
import { keyId, signStatement } from "../../fastpatch/statement.ts";
import { trustEntry } from "../../fastpatch/trust.ts";
import { BLOCK } from "../../fastpatch/verity.ts";
import { bundleAgent } from "../bundle.ts";
import { osFiles, packOs } from "../machine/os.ts";

/** What is wrong with a release: its service answers 503, its agent is cut off in the middle, or it fits into no machine's slot. */
export type Defect = "service" | "agent" | "size";

export interface Built {
  version: string;
  /** The Release, ready to apply. */
  manifest: KubeObject & { spec: ReleaseSpec };
  /** Data, superblock and tree, as they lie in a slot. */
  image: Buffer;
  rootHash: string;
  dataBlocks: number;
}

const PRODUCT = "dev.slipway.harbor";
const MIB = 1024 * 1024;
/** Incompressible content that all releases share, and that each has of its own. */
const SHARED_BALLAST = 6 * MIB;
const OWN_BALLAST = MIB;
/** More than a slot has to spare. */
const OVERWEIGHT = 8 * MIB;

const SERVICE_SOURCE = `import { createServer } from "node:http";
const [address, port] = process.argv.slice(2);
const database = CONFIG;
createServer((request, response) => {
  if (request.url !== "/healthz") response.writeHead(404).end();
  else if (database === undefined) response.writeHead(503).end("no database is configured\\n");
  else response.writeHead(200).end("ok\\n");
}).listen(Number(port), address);
`;

export class Foundry {
  readonly #folder: string;
  readonly #url: string;
  readonly #key: { privateKey: KeyObject; publicKey: KeyObject };
  readonly #ballast = randomBytes(SHARED_BALLAST);
  readonly #makeAgent: () => Promise<Buffer>;
  #agent: Promise<Buffer> | undefined;
  #base: Manifest | undefined;

  /** `folder` is what the mirror at `url` serves; `agent` makes what runs as the agent, the bundled one by default. */
  constructor(folder: string, url: string, agent?: () => Promise<Buffer>) {
    this.#folder = folder;
    this.#url = url;
    this.#makeAgent = agent ?? (() => bundled(join(folder, "..", "agent.cjs")));
    this.#key = generateKeyPairSync("ed25519");
  }

  /** The trust file of machines; gives its path. */
  async writeTrust(path: string): Promise<string> {
    writeFileSync(path, JSON.stringify({ threshold: 1, keys: [trustEntry(this.#key.publicKey)] }));
    return path;
  }

  /** Builds, signs and publishes `version`. Machines that run the release before fetch only what changed. */
  async release(version: string, defect?: Defect): Promise<Built> {
    this.#agent ??= this.#makeAgent();
    const agent = await this.#agent;
    const database = defect === "service" ? "undefined" : '"postgres://localhost"';
    const archive = await packOs(
      osFiles({
        version,
        agent: defect === "agent" ? agent.subarray(0, agent.length >> 1) : agent,
        service: Buffer.from(SERVICE_SOURCE.replace("CONFIG", database)),
        ballast: Buffer.concat([this.#ballast, randomBytes(defect === "size" ? OVERWEIGHT : OWN_BALLAST)]),
      }),
    );
    const chunks: Buffer[] = [];
    const built = await buildImage({
      input: {
        size: archive.length,
        read: async (offset, length) => Buffer.from(archive.subarray(offset, offset + length)),
      },
      write: (bytes) => {
        chunks.push(Buffer.from(bytes));
      },
      level: 3,
      ...(this.#base === undefined ? {} : { base: this.#base }),
    });
    const manifest = await parseManifest(built.manifestObject);
    if (defect === undefined) this.#base = manifest;
    mkdirSync(join(this.#folder, version), { recursive: true });
    writeFileSync(join(this.#folder, version, "image"), Buffer.concat(chunks));
    writeFileSync(join(this.#folder, version, "manifest"), built.manifestObject);
    const { rootHash } = built;
    const statement = {
      product: PRODUCT,
      version,
      architecture: "amd64",
      rootHash,
      image: built.image,
      manifest: built.manifest,
    };
    const data = Buffer.alloc(built.dataBlocks * BLOCK);
    archive.copy(data);
    return {
      version,
      rootHash,
      dataBlocks: built.dataBlocks,
      image: Buffer.concat([data, manifest.tail]),
      manifest: {
        apiVersion: "slipway.dev/v1alpha1",
        kind: "Release",
        metadata: { name: `harbor-${version}` },
        spec: {
          version,
          product: PRODUCT,
          steppingStone: false,
          payloads: [
            {
              architecture: "amd64",
              kind: "FastPatch",
              rootHash,
              image: { urls: [`${this.#url}/${version}/image`], ...built.image },
              manifest: { urls: [`${this.#url}/${version}/manifest`], ...built.manifest },
              signatures: [
                {
                  keyId: keyId(this.#key.publicKey),
                  signature: signStatement(statement, this.#key.privateKey).toString("base64"),
                },
              ],
            },
          ],
        },
      },
    };
  }

  /** A new machine's disk, with `first` good in slot A and nothing in slot B. */
  async installFirst(path: string, first: Built): Promise<void> {
    const slotBytes = Math.ceil((first.image.length + 4 * MIB) / MIB) * MIB;
    const guid = (): string => randomUUID();
    const layout = referenceLayout([guid(), guid(), guid(), guid()], {
      esp: MIB,
      slot: slotBytes,
      state: MIB,
    });
    const bytes = layout.reduce((sum, partition) => sum + partition.bytes, 4 * MIB);
    writeFileSync(path, "");
    truncateSync(path, bytes);
    const disk = await openFileDisk(path);
    try {
      const extents = await createTable(disk, { diskGuid: guid(), partitions: layout });
      const slot = extents[1];
      if (slot === undefined) throw new Error("the layout has no slot A");
      await writeSlot(region(disk, slot.offset, slot.size), first);
    } finally {
      await disk.close();
    }
  }

  /** Puts `next` into the passive slot of a machine that is off, and lets it boot from there, as an agent would. */
  async installNext(path: string, runningPartition: string, next: Built): Promise<void> {
    const disk = await openFileDisk(path);
    try {
      const control = await createGptPrio({ disk, runningPartition });
      const passive = (await control.slots()).find(({ name }) => name !== control.running);
      if (passive === undefined) throw new Error("the disk has one slot only");
      await writeSlot(region(disk, passive.offset, passive.size), next);
      await control.setNext(passive.name, 1);
    } finally {
      await disk.close();
    }
  }
}

async function writeSlot(slot: Disk, built: Built): Promise<void> {
  await slot.write(0, built.image);
  await writeSlotLabel(slot, {
    version: built.version,
    product: PRODUCT,
    architecture: "amd64",
    rootHash: built.rootHash,
    imageBytes: built.image.length,
    dataBlocks: built.dataBlocks,
  });
}

async function bundled(file: string): Promise<Buffer> {
  await bundleAgent(file);
  return readFileSync(file);
}
