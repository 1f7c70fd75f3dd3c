/** The plugin as kubectl finds it on the PATH, against the real API server. No manager runs: what one would write, the tests write. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import type { Channel } from "../api/channel.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../api/node-update.ts";
import type { Release } from "../api/release.ts";
import type { UpdateGroup } from "../api/update-group.ts";
import { buildScript } from "../hack/kubectl-plugin/build.ts";
import { tool } from "../hack/tools.ts";
import type { Node } from "../runtime/core.ts";

const kubectl = await tool("kubectl");
let folder = "";

interface Run {
  code: number;
  out: string;
  err: string;
}

function run(
  args: readonly string[],
  options: { input?: string; env?: Record<string, string> } = {},
): Promise<Run> {
  const env = {
    HOME: folder,
    PATH: [join(folder, "bin"), dirname(kubectl), dirname(process.execPath), "/usr/bin", "/bin"].join(
      delimiter,
    ),
    KUBECONFIG: inject("kubeconfig"),
    ...options.env,
  };
  return new Promise((fulfil) => {
    const child = execFile(kubectl, [...args], { env, timeout: 50_000 }, (error, out, err) => {
      fulfil({ code: error === null ? 0 : typeof error.code === "number" ? error.code : -1, out, err });
    });
    child.stdin?.end(options.input ?? "");
  });
}

const slipway = (...args: string[]): Promise<Run> => run(["slipway", ...args]);

async function done(...args: string[]): Promise<string> {
  const { code, out, err } = await run(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${err}`);
  return out;
}

async function get<T>(kind: string, name: string): Promise<T> {
  return JSON.parse(await done("get", kind, name, "-o", "json")) as T;
}

async function apply(...objects: readonly object[]): Promise<void> {
  const { code, err } = await run(["apply", "-f", "-"], {
    input: JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }),
  });
  if (code !== 0) throw new Error(err);
}

async function setStatus(kind: string, name: string, status: object): Promise<void> {
  await done("patch", kind, name, "--subresource=status", "--type=merge", "-p", JSON.stringify({ status }));
}

const API = "slipway.dev/v1alpha1";
const ROOT = "a".repeat(64);
const soon = (hours: number): string =>
  new Date(Date.now() + hours * 3_600_000).toISOString().replace(/\.\d{3}Z/, "Z");

function releaseOf(version: string, rootHash: string): object {
  const blob = { urls: ["https://mirror.example/os"], size: 1, sha256: ROOT };
  return {
    apiVersion: API,
    kind: "Release",
    metadata: { name: `plug-${version}` },
    spec: {
      version,
      product: "plug",
      payloads: [{ architecture: "amd64", image: blob, manifest: blob, rootHash }],
    },
  };
}

const objects = [
  { apiVersion: "v1", kind: "Node", metadata: { name: "plug-1", labels: { plug: "yes" } } },
  { apiVersion: "v1", kind: "Node", metadata: { name: "plug-alone" } },
  releaseOf("1.0.0", "a".repeat(64)),
  releaseOf("1.1.0", "b".repeat(64)),
  { apiVersion: API, kind: "Channel", metadata: { name: "plug" }, spec: { release: "plug-1.1.0" } },
  {
    apiVersion: API,
    kind: "UpdateGroup",
    metadata: { name: "plug", labels: { plug: "yes" } },
    spec: { nodeSelector: { matchLabels: { plug: "yes" } }, channel: "plug", windows: "OnlyInWindows" },
  },
  {
    apiVersion: API,
    kind: "RebootWindow",
    metadata: { name: "plug" },
    spec: { start: "02:00", duration: "2h", groupSelector: { matchLabels: { plug: "yes" } } },
  },
];

const staged: NodeUpdateStatus = {
  architecture: "amd64",
  running: "1.0.0",
  runningRootHash: "a".repeat(64),
  target: "1.1.0",
  staged: "1.1.0",
  step: "Staged",
  reason: "WaitingForWindow",
  message: "No window is open.",
  since: soon(-1),
  connected: true,
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "slipway-plugin-"));
  await buildScript(folder);
  await apply(...objects);
  const node = await get<Node>("node", "plug-1");
  const updates = [
    {
      name: "plug-1",
      spec: { nodeName: "plug-1", nodeUID: node.metadata.uid, group: "plug", release: "plug-1.1.0" },
    },
    {
      name: "machine-0123456789ab",
      spec: { machineRef: { machineId: "0123456789abcdef0123456789abcdef" }, group: "plug" },
    },
  ];
  await apply(
    ...updates.map(({ name, spec }) => ({ apiVersion: API, kind: "NodeUpdate", metadata: { name }, spec })),
  );
  const { metadata } = await get<NodeUpdate>("nodeupdate", "plug-1");
  await setStatus("nodeupdate", "plug-1", { ...staged, observedGeneration: metadata.generation });
  await setStatus("updategroup", "plug", {
    observedGeneration: 1,
    target: "plug-1.1.0",
    nodes: 2,
    limit: 1,
    unavailable: 0,
  });
  await setStatus("channel", "plug", { current: "plug-1.1.0", previous: "plug-1.0.0" });
  await setStatus("rebootwindow", "plug", {
    open: false,
    next: soon(3),
    nextOpenings: [
      { start: soon(3), end: soon(5) },
      { start: soon(27), end: soon(29) },
    ],
  });
});

afterAll(async () => {
  await run(["delete", "node", "plug-1", "plug-alone", "--ignore-not-found"]);
  await run(["delete", "nodeupdates", "plug-1", "machine-0123456789ab", "--ignore-not-found"]);
  for (const [kind, ...names] of [
    ["updategroup", "plug"],
    ["channel", "plug"],
    ["rebootwindow", "plug"],
    ["release", "plug-1.0.0", "plug-1.1.0", "made-1.2.0"],
  ] as const)
    await run(["delete", kind, ...names, "--ignore-not-found"]);
  rmSync(folder, { recursive: true, force: true });
});

describe("kubectl finds it", () => {
  test("and lists it without a complaint", async () => {
    const { out, err } = await run(["plugin", "list"]);
    expect(out).toContain(join(folder, "bin", "kubectl-slipway"));
    expect(err).toBe("");
  });

  test("its usage names kubectl", async () => {
    const { code, out } = await slipway("rollout", "pause", "--help");
    expect(out).toMatch(/^Usage: kubectl slipway rollout pause \[options\] <group>\n/);
    expect(out).toContain("--context");
    expect(code).toBe(0);
  });

  test("a wrong call ends with 1, and says where the right one stands", async () => {
    const { code, out, err } = await slipway("whi", "plug-1");
    expect([code, out]).toEqual([1, ""]);
    expect(err).toContain("Did you mean why?");
    expect(err).toContain("kubectl slipway --help");
  });

  test("kubectl completes its commands and the names of objects", async () => {
    expect((await run(["__complete", "slipway", "roll"])).out).toContain("rollout\n");
    expect((await run(["__complete", "slipway", "why", "plug-a"])).out).toContain("plug-alone\n");
    expect((await run(["__complete", "slipway", "rollout", "promote", "plug", "plug-1.0"])).out).toContain(
      "plug-1.0.0\n",
    );
  });
});

describe("which cluster", () => {
  test("--kubeconfig, KUBECONFIG as a list, --context", async () => {
    const other = join(folder, "other.yaml");
    writeFileSync(
      other,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        clusters: [{ name: "dead", cluster: { server: "https://127.0.0.1:1" } }],
        users: [{ name: "nobody", user: {} }],
        contexts: [{ name: "dead", context: { cluster: "dead", user: "nobody" } }],
        "current-context": "dead",
      }),
    );
    const both = { KUBECONFIG: `${inject("kubeconfig")}${delimiter}${other}` };
    expect((await run(["slipway", "why", "plug-alone"], { env: both })).code).toBe(0);
    const unknown = await run(["slipway", "why", "plug-alone", "--context", "nowhere"], { env: both });
    expect(unknown.err).toMatch(/there is no context nowhere; it has .*dead/);
    const flag = await slipway("why", "x", "--kubeconfig", join(folder, "none"));
    expect([flag.code, flag.err]).toEqual([1, expect.stringContaining("correct --kubeconfig")]);
  });
});

describe("what it shows", () => {
  test("why a node waits, as text and as JSON", async () => {
    const { out } = await slipway("why", "plug-1");
    expect(out).toMatch(/^No manager .*plug-1 has 1\.1\.0 staged and waits for a reboot window/);
    expect(out).toContain("kubectl slipway windows next plug");
    const { situation, facts } = JSON.parse((await slipway("why", "plug-1", "-o", "json")).out) as {
      situation: string;
      facts: unknown[];
    };
    expect(situation).toBe("ManagerAway");
    expect(facts.length).toBeGreaterThan(3);
    expect((await slipway("why", "plug-alone")).out).toContain("plug-alone is left alone by Slipway");
  });

  test("a node that does not exist", async () => {
    expect(await slipway("why", "plug-9")).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(/^error: there is no Node, NodeUpdate or machine id plug-9: /),
    });
  });

  test("the board", async () => {
    const { out } = await slipway("status", "plug");
    expect(out).toContain("group plug: target plug-1.1.0");
    expect(out).toMatch(/plug-1 .*Staged .*WaitingForWindow: No window is open\./);
    expect((await slipway("status", "plug", "-o", "name")).out).toBe(
      "updategroup.slipway.dev/plug\nnodeupdate.slipway.dev/machine-0123456789ab\nnodeupdate.slipway.dev/plug-1\n",
    );
    const list = parse((await slipway("status", "plug", "-o", "yaml")).out) as {
      kind: string;
      items: unknown[];
    };
    expect([list.kind, list.items.length]).toEqual(["List", 3]);
  });

  test("the next openings", async () => {
    const { out } = await slipway("windows", "next", "plug", "-o", "wide");
    expect(out.split("\n")[1]).toMatch(/^plug +next +\S+Z +\d+h?\w* +\S+Z +2h +plug/);
  });

  test("plain machines", async () => {
    expect((await slipway("machines", "-o", "wide")).out).toMatch(
      /machine-0123456789ab +plug .* 0123456789abcdef0123456789abcdef/,
    );
  });

  test("what a rollout would do", async () => {
    const { out, code } = await slipway("rollout", "--dry-run", "plug");
    expect(code).toBe(0);
    expect(out).toContain("UpdateGroup plug to Release plug-1.1.0: 1 node would move, nothing was changed.");
    expect(out).toMatch(/rest +plug-1 +1\.0\.0 +1\.1\.0 +\S+Z \(in 2h5\dm\)/);
    expect(out).toMatch(/machine-0123456789ab .*stays +its agent is away/);
  });
});

describe("what it writes", () => {
  test("hold and unhold", async () => {
    expect(await slipway("node", "hold", "plug-1", "--reason", "its  disk\nclicks")).toMatchObject({
      code: 0,
      out: "node/plug-1 held\n",
    });
    expect((await get<Node>("node", "plug-1")).metadata.annotations?.["slipway.dev/hold"]).toBe(
      "its disk clicks",
    );
    expect((await slipway("node", "reboot", "plug-1", "--now", "--reason", "x")).err).toContain(
      "is held (its disk clicks)",
    );
    await slipway("node", "unhold", "plug-1");
    expect((await get<Node>("node", "plug-1")).metadata.annotations).not.toHaveProperty(["slipway.dev/hold"]);
    await slipway("node", "hold", "0123456789abcdef0123456789abcdef", "--reason", "moved to another rack");
    const machine = await get<NodeUpdate>("nodeupdate", "machine-0123456789ab");
    expect(machine.metadata.annotations?.["slipway.dev/hold"]).toBe("moved to another rack");
  });

  test("a reboot is asked for, with a reason, and only with --now", async () => {
    expect((await slipway("node", "reboot", "plug-1", "--reason", "x")).code).toBe(1);
    await slipway("node", "reboot", "plug-1", "--now", "--reason", "new firmware");
    expect((await get<NodeUpdate>("nodeupdate", "plug-1")).metadata.annotations?.["slipway.dev/reboot"]).toBe(
      "new firmware",
    );
    await done("annotate", "nodeupdate", "plug-1", "slipway.dev/reboot-");
  });

  test("a node may try a release again that failed there", async () => {
    expect((await slipway("node", "retry", "plug-1")).err).toContain("there is nothing to retry");
    const failed = [
      {
        release: "plug-1.1.0",
        version: "1.1.0",
        rootHash: "b".repeat(64),
        reason: "FellBack",
        message: "",
        time: soon(-2),
      },
    ];
    await setStatus("nodeupdate", "plug-1", { failed });
    expect((await slipway("node", "retry", "plug-1")).out).toBe(
      "nodeupdate/plug-1 may try plug-1.1.0 once more\n",
    );
    expect((await get<NodeUpdate>("nodeupdate", "plug-1")).metadata.annotations?.["slipway.dev/retry"]).toBe(
      "plug-1.1.0",
    );
    await setStatus("nodeupdate", "plug-1", { failed: [] });
  });

  test("pause and resume", async () => {
    expect((await slipway("rollout", "pause", "plug")).out).toBe("updategroup.slipway.dev/plug paused\n");
    expect((await get<UpdateGroup>("updategroup", "plug")).spec.paused).toBe(true);
    expect((await slipway("rollout", "resume", "plug")).out).toBe("updategroup.slipway.dev/plug resumed\n");
    expect((await get<UpdateGroup>("updategroup", "plug")).spec.paused).toBe(false);
    expect((await slipway("rollout", "pause", "nobody")).err).toContain("there is no UpdateGroup nobody");
  });

  test("a halt is lifted only where there is one", async () => {
    expect((await slipway("rollout", "retry", "plug", "--reason", "the mirror was bad")).err).toContain(
      "is not halted",
    );
    const halted = {
      type: "Halted",
      status: "True",
      reason: "FailureThresholdReached",
      message: "1 node failed.",
      lastTransitionTime: soon(-1),
    };
    await setStatus("updategroup", "plug", { conditions: [halted] });
    await slipway("rollout", "retry", "plug", "--reason", "the mirror was bad");
    expect(
      (await get<UpdateGroup>("updategroup", "plug")).metadata.annotations?.["slipway.dev/resume"],
    ).toMatch(/Z the mirror was bad$/);
    await setStatus("updategroup", "plug", { conditions: [] });
  });

  test("promote, and back with the permission to downgrade", async () => {
    expect((await slipway("rollout", "promote", "plug", "plug-9")).err).toContain(
      "there is no Release plug-9",
    );
    expect((await slipway("rollout", "promote", "plug", "plug-1.0.0", "--dry-run")).out).toContain(
      "runs it already",
    );
    await setStatus("nodeupdate", "plug-1", { running: "1.1.0", runningRootHash: "b".repeat(64) });
    const dry = await slipway("rollout", "rollback", "plug", "--dry-run");
    expect(dry.out).toContain("channel.slipway.dev/plug points at plug-1.0.0 (dry run)");
    expect((await get<Channel>("channel", "plug")).spec.release).toBe("plug-1.1.0");
    await slipway("rollout", "rollback", "plug");
    expect((await get<Channel>("channel", "plug")).spec.release).toBe("plug-1.0.0");
    expect(
      (await get<NodeUpdate>("nodeupdate", "plug-1")).metadata.annotations?.["slipway.dev/allow-downgrade"],
    ).toBe("plug-1.0.0");
    expect((await slipway("rollout", "promote", "plug", "plug-1.1.0")).out).toBe(
      "channel.slipway.dev/plug promoted to plug-1.1.0\n",
    );
    await setStatus("nodeupdate", "plug-1", { ...staged });
  });

  test("a staged node of a group with strategy Off flips when a person says so", async () => {
    expect((await slipway("apply", "plug-1")).err).toContain("strategy Coordinated");
    await done("patch", "updategroup", "plug", "--type=merge", "-p", '{"spec":{"strategy":"Off"}}');
    expect((await slipway("apply", "plug-1")).out).toBe("nodeupdate/plug-1 may flip to plug-1.1.0\n");
    expect((await get<NodeUpdate>("nodeupdate", "plug-1")).metadata.annotations?.["slipway.dev/apply"]).toBe(
      "plug-1.1.0",
    );
    await done("patch", "updategroup", "plug", "--type=merge", "-p", '{"spec":{"strategy":"Coordinated"}}');
  });

  test("a slot is freed only after a yes, and when the manager did it", async () => {
    expect((await slipway("locks", "steal", "plug-1", "--reason", "gone", "--yes")).err).toContain(
      "holds no slot",
    );
    const grant = { nonce: "n1", budgets: ["group/plug"], phase: "Committed", since: soon(-1) };
    await setStatus("nodeupdate", "plug-1", { step: "Suspect", grant });
    expect((await slipway("locks", "list")).out).toMatch(/group\/plug +1 +0 +plug-1 \(Suspect 60m\)/);
    const unasked = await slipway("locks", "steal", "plug-1", "--reason", "gone");
    expect([unasked.code, unasked.err]).toEqual([1, expect.stringContaining("give --yes")]);
    const steal = slipway("locks", "steal", "plug-1", "--reason", "it burnt", "--yes");
    await expect
      .poll(
        async () =>
          (await get<NodeUpdate>("nodeupdate", "plug-1")).metadata.annotations?.["slipway.dev/steal"],
        { timeout: 30_000 },
      )
      .toBe("it burnt");
    await setStatus("nodeupdate", "plug-1", { step: "Staged", grant: null });
    expect(await steal).toMatchObject({ code: 0, out: "nodeupdate/plug-1 slot freed\n" });
  });
});

describe("releases", () => {
  test("from an image to the cluster: built, signed, verified, published", async () => {
    const at = (name: string): string => join(folder, name);
    writeFileSync(at("os.img"), Buffer.alloc(64 * 1024, 7));
    await done("slipway", "release", "keygen", at("key"));
    const args = [
      "--out",
      at("out"),
      "--product",
      "made",
      "--version",
      "1.2.0",
      "--architecture",
      "amd64",
      "--url",
      "https://mirror.example/1.2.0",
    ];
    await done("slipway", "release", "create", at("os.img"), ...args, "--key", at("key.key"), "--apply");
    const release = await get<Release>("release", "made-1.2.0");
    expect(release.spec.payloads[0]?.signatures).toHaveLength(1);
    expect(
      await done("slipway", "release", "verify", at("out/release.yaml"), "--trust", at("key.trust.json")),
    ).toContain("blocks are right");
    expect((await run(["slipway", "release", "create", at("os.img"), ...args, "--apply"])).err).toContain(
      "a Release never changes",
    );
  });
});

describe("doctor", () => {
  test("an API server without a manager: what is right, what is wrong, and 1", async () => {
    const { code, out, err } = await slipway("doctor", "-n", "slipway-nowhere");
    expect(out).toMatch(/^ok +crds +all 6 kinds are there, as this build knows them\.$/m);
    expect(out).toMatch(/^fail +leader +no manager has ever led in namespace slipway-nowhere\.$/m);
    expect(out).toContain("-> ");
    expect([code, err]).toEqual([1, expect.stringContaining("something is wrong")]);
    const lines = JSON.parse((await slipway("doctor", "-o", "json", "-n", "slipway-nowhere")).out) as {
      level: string;
    }[];
    expect(lines.some(({ level }) => level === "fail")).toBe(true);
  });
});

describe("migrate", () => {
  test("kured, from the cluster", async () => {
    const manifest = readFileSync(new URL("testdata/migrate/kured.yaml", import.meta.url), "utf8");
    await done("create", "namespace", "plug-kured");
    try {
      await run(["apply", "-n", "plug-kured", "-f", "-"], { input: manifest });
      const { out, code } = await slipway("migrate", "kured", "-n", "plug-kured");
      expect(code).toBe(0);
      const dry = await run(["apply", "--dry-run=server", "-f", "-"], { input: out });
      expect(dry.err).toBe("");
      expect(dry.out).toContain("rebootwindow.slipway.dev/kured created (server dry run)");
      expect(parseAllDocuments(out)).toHaveLength(2);
    } finally {
      await run(["delete", "namespace", "plug-kured", "--wait=false"]);
    }
  });

  test("what is not there", async () => {
    expect(await slipway("migrate", "brupop", "-n", "kube-public")).toMatchObject({
      code: 1,
      err: expect.stringContaining("was not found in the cluster"),
    });
  });
});
