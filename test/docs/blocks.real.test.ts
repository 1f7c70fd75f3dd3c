/** Every command block of the pages that carries no mark is run, page by page, as a reader would. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { waitUntil } from "../../hack/plane/wait.ts";
import { namedInline } from "./command.ts";
import { Desk } from "./desk.ts";
import { type Block, blocksOf, MIGRATIONS, PAGES, ROOT, runnableBlocks } from "./page.ts";
import { MACHINE } from "./stand-ins.ts";

const FIRST = "docs/getting-started.md";
/** Pages that install Slipway themselves; the others find it installed. */
const INSTALLS = [FIRST, "README.md", "charts/slipway/README.md"];
const INSTALL = "helm install slipway charts/slipway --namespace slipway-system --create-namespace";

const API = "slipway.dev/v1alpha1";
const blob = { urls: ["https://images.example.org/x"], size: 1, sha256: "0".repeat(64) };
const node = (name: string): object => ({ apiVersion: "v1", kind: "Node", metadata: { name } });
const release = (name: string, version: string): object => ({
  apiVersion: API,
  kind: "Release",
  metadata: { name },
  spec: {
    version,
    product: "docs",
    payloads: [{ architecture: "amd64", image: blob, manifest: blob, rootHash: "0".repeat(64) }],
  },
});
const group = {
  apiVersion: API,
  kind: "UpdateGroup",
  metadata: { name: "docs-group" },
  spec: { nodeSelector: { matchLabels: { docs: "yes" } }, channel: "docs-channel", windows: "Always" },
};
/** What pages speak of in general: NODE, GROUP, CHANNEL, RELEASE. */
const objects = [
  release("docs-1.0.0", "1.0.0"),
  { apiVersion: API, kind: "Channel", metadata: { name: "docs-channel" }, spec: { release: "docs-1.0.0" } },
  group,
  {
    apiVersion: API,
    kind: "NodeUpdate",
    metadata: { name: "docs-node" },
    spec: { nodeName: "docs-node", nodeUID: "docs", group: "docs-group" },
  },
];

let desk: Desk;
beforeAll(async () => {
  desk = await Desk.start();
  await apply(["docs-node", "worker-1", "worker-2", "worker-3"].map(node));
  const manifests = readFileSync(join(ROOT, "cli/testdata/migrate/fluo.yaml"), "utf8").split("---\n");
  writeFileSync(join(desk.folder, "operator.yaml"), manifests[0] ?? "");
  writeFileSync(join(desk.folder, "agent.yaml"), manifests[1] ?? "");
});
afterAll(async () => await desk?.stop());

async function apply(items: readonly object[]): Promise<void> {
  await desk.plane.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
}

async function done(text: string): Promise<void> {
  const { code, output } = await desk.run(text);
  expect(code, `${text}\n${output}`).toBe(0);
}

/** What a page finds. */
async function lay(page: string): Promise<void> {
  for (const name of ["kured", "brupop"])
    await done(`kubectl create namespace kube-system 2>/dev/null || true
kubectl create namespace brupop-bottlerocket-aws 2>/dev/null || true
kubectl apply -f ${join(ROOT, `cli/testdata/migrate/${name}.yaml`)}`);
  await done("helm uninstall slipway --namespace slipway-system --ignore-not-found");
  if (!INSTALLS.includes(page)) await done(INSTALL);
  await apply(objects);
}

/** The page that begins with nothing comes first. */
const pages = new Map<string, Block[]>([[FIRST, []]]);
for (const block of runnableBlocks()) pages.set(block.page, [...(pages.get(block.page) ?? []), block]);
const lines = (blocks: readonly Block[]) => blocks.map((block) => [block.line, block] as const);

describe.each([...pages].filter(([page]) => !MIGRATIONS.includes(page)))("%s", (page, blocks) => {
  beforeAll(async () => {
    if (page === FIRST) return;
    await lay(page);
    if (page === "docs/operations.md") await desk.join();
  });

  test.each(lines(blocks))("line %i", async (_line, { text }) => {
    await done(text);
  });
});

/** Beside a manager, which does what a person asks. */
describe("who comes from another server", () => {
  /** Its group serves machines without our agent; its Node is up. */
  const served = {
    ...group,
    spec: { nodeSelector: group.spec.nodeSelector, driver: "sentinel", windows: "Always", machines: {} },
  };
  const keys = {
    ...{
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "slipway-machines", namespace: "slipway-system" },
    },
    stringData: { keys: Buffer.alloc(32, "docs").toString("base64") },
  };
  const up = {
    conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", message: "" }],
    nodeInfo: { machineID: "f".repeat(32), bootID: "docs-boot" },
  };
  /** The manager writes it some seconds after the slot was taken. */
  const isShown = async (): Promise<void> => {
    const holders = ["get", "updategroup", "docs-group", "-o", "jsonpath={.status.machines.holders}"];
    await waitUntil(async () => (await desk.plane.kubectl(holders)).includes(MACHINE), {
      ...{ what: "the machine holds a slot", deadline: 50_000, interval: 200 },
    });
  };
  /** Whose slot is freed holds one. */
  const holds = new Map<string, () => Promise<void>>([
    ["locks unlock", isShown],
    ["locks steal", () => desk.nodeAsks("docs-node", "docs-group")],
    [
      "machines steal",
      async () => {
        await done('kubectl slipway locks lock GROUP ID --reason "docs"');
        await isShown();
      },
    ],
  ]);

  beforeAll(async () => {
    await lay(MIGRATIONS[0] ?? "");
    // Of the pages before: a Node of two groups is in none.
    await done("kubectl delete nodeupdate,updategroup --all");
    await apply([served, keys]);
    await done("kubectl label node docs-node docs=yes --overwrite");
    const status = JSON.stringify({ status: up });
    await done(`kubectl patch node docs-node --subresource=status --type=merge -p '${status}'`);
    await desk.manage();
    await done(
      "kubectl wait updategroup docs-group --for=jsonpath='{.status.machines.held}'=0 --timeout=60s",
    );
  });

  describe.each(MIGRATIONS)("%s", (page) => {
    test.each(lines(pages.get(page) ?? []))("line %i", async (_line, { text }) => {
      await done(text);
    });

    test.each(namedInline(page).map((each) => [each.text, each.words] as const))(
      "%s",
      async (text, words) => {
        await holds.get(words.slice(0, 2).join(" "))?.();
        await done(text);
      },
    );
  });
});

describe("YAML", () => {
  const blocks = PAGES.flatMap((page) => blocksOf(page)).filter(({ language }) => language === "yaml");
  test.each(blocks.map((block) => [`${block.page}:${block.line}`, block] as const))(
    "%s is what the API server takes, as an object or in the spec of a group",
    async (_where, { text }) => {
      const documents = parseAllDocuments(text).map((document) => document.toJS() as object);
      const items = documents.map((value) =>
        "kind" in value ? value : { ...group, spec: { ...group.spec, ...value } },
      );
      const list = JSON.stringify({ apiVersion: "v1", kind: "List", items });
      await desk.plane.kubectl(["apply", "--dry-run=server", "--validate=strict", "-f", "-"], list);
    },
  );
});
